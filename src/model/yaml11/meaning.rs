//! What an unquoted word means to YAML 1.1: numbers, truths and dates where people mean words.

use serde::Serialize;

use super::Loader;

/// What a scalar means to YAML 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// What it is in most cases.
    #[default]
    Text,
    /// `~`, `null`, or no value.
    Null,
    /// `yes`, `off`, `True` and others.
    Truth,
    /// `2024`, `1_000`, `0x1F`, `017`, `12:30` and others.
    Integer,
    /// `1.5`, `1e5`, `.inf`, `12:30.5` and others.
    Float,
    /// A date or a time stamp, which JSON has not.
    Date,
    /// A bare `=`, which is an error.
    Equals,
    /// A bare `<<`, which is an error but for a key.
    Merge,
    /// Matches the pattern of numbers and cannot be converted, as `0x_`.
    NoNumber,
}

impl Meaning {
    /// Resolves an unquoted scalar.
    #[must_use]
    pub fn of_plain(text: &str, loader: Loader) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false" | "False"
            | "FALSE" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => Self::Truth,
            "=" => Self::Equals,
            "<<" => Self::Merge,
            _ if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) => {
                Self::Text
            }
            _ => integer(text).or_else(|| float(text, loader)).or_else(|| date(text)).unwrap_or_default(),
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Null => "nothing",
            Self::Truth => "a truth (true or false)",
            Self::Integer | Self::Float => "a number",
            Self::Date => "a date",
            Self::Equals | Self::Merge => "a sign of YAML's own",
            Self::NoNumber => "a number that is none",
        }
    }
}

/// Takes the bytes that are `is_of` off the front; false where there are none.
fn run(text: &mut &[u8], is_of: impl Fn(u8) -> bool) -> bool {
    let length = text.iter().take_while(|byte| is_of(**byte)).count();
    *text = &text[length..];
    length > 0
}

fn without_sign(text: &str) -> &[u8] {
    text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes()
}

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

const fn is_digit_or_blank(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

/// `0b1`, `017`, `0x1F`, `1_000` and sexagesimal `12:30`.
fn integer(text: &str) -> Option<Meaning> {
    let digits = without_sign(text);
    let has_a_digit = |digits: &[u8]| digits.iter().any(|byte| *byte != b'_');
    let kind = |is_number: bool| Some(if is_number { Meaning::Integer } else { Meaning::NoNumber });
    let is_all = |digits: &[u8], is_of: &dyn Fn(u8) -> bool| {
        !digits.is_empty() && digits.iter().all(|byte| is_of(*byte))
    };
    match digits {
        b"0" => kind(true),
        [b'0', b'b', rest @ ..] => {
            is_all(rest, &|it| matches!(it, b'0' | b'1' | b'_')).then(|| kind(has_a_digit(rest)))?
        }
        [b'0', b'x', rest @ ..] => {
            is_all(rest, &|it| it.is_ascii_hexdigit() || it == b'_').then(|| kind(has_a_digit(rest)))?
        }
        [b'0', rest @ ..] => is_all(rest, &|it| matches!(it, b'0'..=b'7' | b'_')).then(|| kind(true))?,
        [b'1'..=b'9', ..] => {
            let mut rest = digits;
            run(&mut rest, is_digit_or_blank);
            (rest.is_empty() || sixties(rest) == Some(&[][..])).then(|| kind(true))?
        }
        _ => None,
    }
}

/// Takes `:30:05` off the front: at least one, each of up to two digits below 60.
fn sixties(mut text: &[u8]) -> Option<&[u8]> {
    let mut any = false;
    while let [b':', rest @ ..] = text {
        text = match rest {
            [b'0'..=b'5', b'0'..=b'9', rest @ ..] => rest,
            [b'0'..=b'9', rest @ ..] => rest,
            _ => return None,
        };
        any = true;
    }
    any.then_some(text)
}

/// Whether this is an exponent: `e5`, `E-5`; with a sign where `signed`.
fn is_exponent(text: &[u8], signed: bool) -> bool {
    let [b'e' | b'E', rest @ ..] = text else { return false };
    let digits = match rest {
        [b'+' | b'-', digits @ ..] => digits,
        _ if signed => return false,
        digits => digits,
    };
    !digits.is_empty() && digits.iter().all(|byte| is_digit(*byte))
}

fn float(text: &str, loader: Loader) -> Option<Meaning> {
    // PyYAML takes an exponent only with a sign and behind a dot; AI Toolkit's own pattern takes `1e5` too.
    let is_lenient = loader == Loader::AiToolkit;
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Meaning::Float);
    }
    if let [b'.', rest @ ..] = text.as_bytes() {
        let mut rest = rest;
        let digits = rest;
        let begins = is_lenient || rest.first().is_some_and(|byte| is_digit(*byte));
        if begins && run(&mut rest, is_digit_or_blank) && (rest.is_empty() || is_exponent(rest, true)) {
            let digits = &digits[..digits.len() - rest.len()];
            let is_number = digits.iter().any(|byte| is_digit(*byte));
            return Some(if is_number { Meaning::Float } else { Meaning::NoNumber });
        }
    }
    let mut rest = without_sign(text);
    if matches!(rest, b".inf" | b".Inf" | b".INF") {
        return Some(Meaning::Float);
    }
    if !rest.first().is_some_and(|byte| is_digit(*byte)) {
        return None;
    }
    run(&mut rest, is_digit_or_blank);
    let is_float = match rest {
        [b'.', fraction @ ..] => {
            let mut fraction = fraction;
            run(&mut fraction, is_digit_or_blank);
            fraction.is_empty() || is_exponent(fraction, !is_lenient)
        }
        [b':', ..] => match sixties(rest) {
            Some([b'.', fraction @ ..]) => fraction.iter().all(|byte| is_digit_or_blank(*byte)),
            _ => false,
        },
        exponent => is_lenient && is_exponent(exponent, false),
    };
    is_float.then_some(Meaning::Float)
}

/// `2024-01-31`, and with a time `2024-1-31 12:30:00.5 +1`.
fn date(text: &str) -> Option<Meaning> {
    let mut rest = text.as_bytes();
    let digits = |rest: &mut &[u8], least: usize, most: usize| {
        let length = rest.iter().take(most).take_while(|byte| is_digit(**byte)).count();
        *rest = &rest[length..];
        (length >= least).then_some(length)
    };
    let sign = |rest: &mut &[u8], sign: u8| match rest {
        [first, after @ ..] if *first == sign => {
            *rest = after;
            Some(())
        }
        _ => None,
    };
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t');
    digits(&mut rest, 4, 4)?;
    sign(&mut rest, b'-')?;
    let month = digits(&mut rest, 1, 2)?;
    sign(&mut rest, b'-')?;
    let day = digits(&mut rest, 1, 2)?;
    if rest.is_empty() {
        return (month == 2 && day == 2).then_some(Meaning::Date);
    }
    if sign(&mut rest, b'T').or_else(|| sign(&mut rest, b't')).is_none() && !run(&mut rest, is_blank) {
        return None;
    }
    digits(&mut rest, 1, 2)?;
    for _ in 0..2 {
        sign(&mut rest, b':')?;
        digits(&mut rest, 2, 2)?;
    }
    if sign(&mut rest, b'.').is_some() {
        run(&mut rest, is_digit);
    }
    if rest.is_empty() {
        return Some(Meaning::Date);
    }
    run(&mut rest, is_blank);
    if sign(&mut rest, b'Z').is_none() {
        sign(&mut rest, b'+').or_else(|| sign(&mut rest, b'-'))?;
        digits(&mut rest, 1, 2)?;
        if sign(&mut rest, b':').is_some() {
            digits(&mut rest, 2, 2)?;
        }
    }
    rest.is_empty().then_some(Meaning::Date)
}

/// What a scalar with one of YAML's own tags (`!!int`) means; `None` where it cannot be converted.
pub(super) fn tagged(core: &str, value: &str, loader: Loader) -> Option<Meaning> {
    match core {
        "str" => Some(Meaning::Text),
        "null" => Some(Meaning::Null),
        "bool" => truth(&value.to_lowercase()).map(|_| Meaning::Truth),
        "int" => (integer(value) == Some(Meaning::Integer)).then_some(Meaning::Integer),
        "float" => {
            let is_number =
                integer(value) == Some(Meaning::Integer) || float(value, loader) == Some(Meaning::Float);
            is_number.then_some(Meaning::Float)
        }
        _ => None,
    }
}

/// Which truth a word is, in lower case.
pub(super) fn truth(word: &str) -> Option<bool> {
    match word {
        "yes" | "true" | "on" => Some(true),
        "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Whether a number is zero, which is false to Python.
pub(super) fn is_zero(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = match unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0b")) {
        Some(digits) => digits,
        None => unsigned.split(['e', 'E']).next().unwrap_or_default(),
    };
    !digits.is_empty() && digits.chars().all(|c| "0_.:".contains(c))
}
