//! Why what the user gave for a hook cannot be one. Never contains it: it may hold a secret.

use crate::model::tls_fault::TlsFault;

/// Why a command or an address cannot be a hook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHookValue {
    #[error(transparent)]
    Command(#[from] BadCommand),
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// No client can be made for the address.
    #[error("TLS: {0}")]
    Tls(TlsFault),
}

impl From<TlsFault> for BadHookValue {
    fn from(fault: TlsFault) -> Self {
        Self::Tls(fault)
    }
}

/// Why a text is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCommand {
    #[error("a quote in it has no end")]
    Unclosed,
    #[error("it has no words")]
    Empty,
    #[error("the name of its program is empty")]
    NoProgram,
    #[error("it has a NUL in it")]
    Nul,
}

/// Why a text is no address that events could be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAddress {
    /// It has no scheme.
    #[error("write an address such as `https://example.com/hook`")]
    NoScheme,
    /// It cannot be parsed, in the parser's words.
    #[error("write an address such as `https://example.com/hook` ({0})")]
    Unreadable(String),
    /// It is neither http nor https, or has no host.
    #[error("write an address such as `https://example.com/hook`, with `https://` or `http://` in front")]
    NoHttp,
}
