//! Signed links: where a file is hosted, for how long, and whether a link is still good.

use std::time::Duration;

use tokio::time::Instant;

use super::files::noise;

/// What `expires` counts from: the same moment as the simulated world.
const EPOCH_SECONDS: u64 = 1_769_860_800;

/// Signs links and checks them.
#[derive(Debug)]
pub(crate) struct Links {
    seed: u64,
    began: Instant,
    issued: u64,
    /// Links that were issued before this number are no longer good.
    oldest_good: u64,
}

/// Why a link is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadLink {
    /// No signature, or one for another path.
    Unsigned,
    /// Its time is over.
    Expired,
}

impl Links {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed: noise::derive(seed, "links"), began: Instant::now(), issued: 0, oldest_good: 0 }
    }

    /// Returns the query that makes a link to `path` good for `lifetime`: never the same twice.
    pub(crate) fn sign(&mut self, path: &str, lifetime: Option<Duration>) -> String {
        // A day, as vendors' links often live, where the test ends them by hand.
        let lifetime = lifetime.unwrap_or(Duration::from_secs(86_400));
        let expires = (self.began.elapsed() + lifetime).as_millis();
        let expires = EPOCH_SECONDS * 1000 + u64::try_from(expires).unwrap_or(u64::MAX / 2);
        self.issued += 1;
        format!("sig={:08x}{:016x}&expires={expires}", self.issued, self.code(path, self.issued, expires))
    }

    /// Ends the life of all links that were issued so far.
    pub(crate) fn expire_all(&mut self) {
        self.oldest_good = self.issued + 1;
    }

    /// Checks the query of a request for `path`.
    pub(crate) fn check(&self, path: &str, query: Option<&str>) -> Result<(), BadLink> {
        let part = |name: &str| {
            query?.split('&').find_map(|pair| pair.strip_prefix(name).and_then(|pair| pair.strip_prefix('=')))
        };
        let read = || {
            let signature = part("sig")?;
            let expires: u64 = part("expires")?.parse().ok()?;
            let issue = u64::from_str_radix(signature.get(..8)?, 16).ok()?;
            let code = u64::from_str_radix(signature.get(8..)?, 16).ok()?;
            (code == self.code(path, issue, expires)).then_some((issue, expires))
        };
        let (issue, expires) = read().ok_or(BadLink::Unsigned)?;
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        if issue < self.oldest_good || expires <= EPOCH_SECONDS * 1000 + now {
            return Err(BadLink::Expired);
        }
        Ok(())
    }

    fn code(&self, path: &str, issue: u64, expires: u64) -> u64 {
        noise::derive(noise::word(self.seed ^ issue, expires), path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_for_its_path_and_its_time() {
        let mut links = Links::new(1);
        let (first, second) = (links.sign("/a", None), links.sign("/a", None));
        assert_ne!(first, second);
        assert_eq!(links.check("/a", Some(&first)), Ok(()));
        assert_eq!(links.check("/b", Some(&first)), Err(BadLink::Unsigned));
        assert_eq!(links.check("/a", None), Err(BadLink::Unsigned));
        assert_eq!(links.check("/a", Some("sig=é&expires=1")), Err(BadLink::Unsigned));
        let dead = links.sign("/a", Some(Duration::ZERO));
        assert_eq!(links.check("/a", Some(&dead)), Err(BadLink::Expired));
        links.expire_all();
        assert_eq!(links.check("/a", Some(&second)), Err(BadLink::Expired));
        let fresh = links.sign("/a", None);
        assert_eq!(links.check("/a", Some(&fresh)), Ok(()));
    }
}
