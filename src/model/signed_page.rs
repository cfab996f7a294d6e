//! A page that rcsync wrote: the signature on its second line shows whether it was edited since.
//!
//! The signature is the SHA-256 of all that follows. An edited page is its editor's, and never replaced.

use sha2::Digest as _;

use super::digest::hex;

const FIRST_LINE: &str = "<!doctype html>\n";
const MARK: &str = "<!-- rcsync gallery ";
const MARK_END: &str = " -->\n";

/// Makes a page of its body.
#[must_use]
pub(crate) fn sign(body: &str) -> String {
    format!("{FIRST_LINE}{MARK}{}{MARK_END}{body}", digest(body))
}

/// Whether rcsync wrote this page, and no other program edited it since.
#[must_use]
pub(crate) fn is_own(page: &[u8]) -> bool {
    let signed = std::str::from_utf8(page)
        .ok()
        .and_then(|page| page.strip_prefix(FIRST_LINE)?.strip_prefix(MARK)?.split_once(MARK_END));
    signed.is_some_and(|(signature, body)| signature == digest(body))
}

fn digest(body: &str) -> String {
    hex(&sha2::Sha256::digest(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_own_until_a_byte_of_it_changes() {
        let page = sign("<title>dog</title>\n");
        assert!(is_own(page.as_bytes()));
        assert!(is_own(sign("").as_bytes()));
        for at in 0..page.len() {
            let mut edited = page.clone().into_bytes();
            edited[at] ^= 1;
            assert!(!is_own(&edited), "byte {at}");
        }
        for other in ["", "<!doctype html>\n", "<title>dog</title>\n", &page[..page.len() - 1]] {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
    }
}
