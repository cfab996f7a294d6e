//! What a folder has by the names of its files alone.

use std::collections::HashSet;

use super::kinds::{MediaKind, stem};

/// The extensions that captions have, the usual one first.
const CAPTIONS: [&str; 3] = ["txt", "caption", "json"];

/// How many files of which kind there are, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    pub pictures: usize,
    pub clips: usize,
    pub sounds: usize,
    /// Captions beside them.
    pub captions: usize,
    /// The extension of most captions, without its dot; `txt` where there are none.
    pub caption_ext: &'static str,
}

impl Listing {
    #[must_use]
    pub(crate) fn of<'n>(names: impl IntoIterator<Item = &'n str> + Clone) -> Self {
        let mut listing = Self { caption_ext: CAPTIONS[0], ..Self::default() };
        let mut stems = HashSet::new();
        for name in names.clone() {
            match MediaKind::of(name) {
                Some(MediaKind::Picture) => listing.pictures += 1,
                Some(MediaKind::Clip) => listing.clips += 1,
                Some(MediaKind::Sound) => listing.sounds += 1,
                None => continue,
            }
            stems.insert(stem(name));
        }
        for ext in CAPTIONS {
            let is_caption = |name: &&str| {
                let stem = name.strip_suffix(ext).and_then(|name| name.strip_suffix('.'));
                stem.is_some_and(|stem| stems.contains(stem))
            };
            let captions = names.clone().into_iter().filter(is_caption).count();
            if captions > listing.captions {
                (listing.captions, listing.caption_ext) = (captions, ext);
            }
        }
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_count_beside_their_pictures_alone() {
        let listing = |names: &[&str]| Listing::of(names.iter().copied());
        let expected = Listing { pictures: 2, clips: 1, sounds: 0, captions: 2, caption_ext: "caption" };
        assert_eq!(
            listing(&["a.JPG", "b.png", "c.mp4", "a.caption", "c.caption", "a.txt", "x.txt"]),
            expected
        );
        assert_eq!(listing(&[]), Listing { caption_ext: "txt", ..Listing::default() });
        assert_eq!(listing(&["a.wav", "a.heic", "a.json"]).captions, 1);
    }
}
