//! Which range of a file next: what is here, what is on its way, what is left.
//!
//! A file is ranges of one revision. Idle connections take the next piece from the front, so that bytes arrive almost
//! in order and hashing keeps up; when nothing is left to begin, they take the second half of the largest piece that
//! another one is still fetching. Ranges are half-open everywhere.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::decide::transfer::stall::Typical;

/// How finely files are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The most bytes one request asks for.
    pub piece: u64,
    /// The same while the length of the file is unknown: a file that is no longer comes in one answer, with whatever the
    /// host claims of it as a whole.
    pub first: u64,
    /// A piece on its way is split only when both halves have at least this much left: less is not worth a round trip.
    pub split: u64,
    /// Pieces end, and splits fall, on multiples of this where halves are larger, so that every block of the part file
    /// comes from one connection: one that two have written is not trusted after a crash.
    pub block: u64,
}

impl Cut {
    /// A piece should keep a connection busy for so long: when the last bytes of a file come, the hash, which follows
    /// the front of what is here, then has no more than this behind it …
    const BUSY: Duration = Duration::from_millis(100);

    /// … and for so many times as long as its connection waits for the first byte, or the waiting counts.
    const WAITS: u32 = 8;

    /// Longer pieces may be asked for only so many times as long as what was measured: how fast a host sends the first
    /// bytes of an answer does not show how fast it sends the rest.
    const STRETCH: f64 = 2.0;

    /// A split is worth it when both halves are longer than what a connection delivers in so many times as long as it
    /// waits for the first byte …
    const SPLIT_WAITS: u32 = 2;

    /// … and never for less than this: the requests themselves cost something.
    const LEAST_SPLIT: u64 = 128 << 10;

    /// Cuts to the measure of what a connection delivers: pieces not longer than the first. As it is where nothing is known
    /// yet.
    #[must_use]
    pub fn to_measure(self, typical: &Typical) -> Self {
        let rate = typical.rate();
        if rate <= 0.0 {
            return self;
        }
        let busy = Self::BUSY.max(typical.wait() * Self::WAITS).as_secs_f64();
        // Casts saturate.
        let piece = (rate * busy).min(typical.length() * Self::STRETCH) as u64;
        let split = (rate * (typical.wait() * Self::SPLIT_WAITS).as_secs_f64()) as u64;
        Self {
            piece: aligned(piece, self.block).clamp(self.block.min(self.first), self.first),
            // What ends in two round trips is over before the response to a second request begins.
            split: split.clamp(Self::LEAST_SPLIT.min(self.split), self.first.max(self.split)),
            ..self
        }
    }
}

/// A piece that one connection is fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease(u64);

/// The ranges of one file.
#[derive(Debug, Clone, Default)]
pub struct PieceMap {
    length: Option<u64>,
    here: BTreeMap<u64, u64>,
    leases: Vec<(Lease, Range<u64>)>,
    /// Leases of the same bytes: of each pair, the second was made for a connection that races the first.
    races: Vec<(Lease, Lease)>,
    next_lease: u64,
}

impl PieceMap {
    /// A file of which nothing is here, and whose length only the first answer shows.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// A file of known length, of which some ranges are here already.
    #[must_use]
    pub fn resumed(length: u64, here: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut map = Self { length: Some(length), ..Self::default() };
        for range in here {
            map.insert(range);
        }
        map
    }

    /// Returns the whole length, where known.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Returns how many bytes are here.
    #[must_use]
    pub fn have(&self) -> u64 {
        self.here.iter().map(|(start, end)| end - start).sum()
    }

    /// Returns how many bytes are on their way. Pieces overlap neither each other nor what is here, save for one that
    /// was stretched to the end of the file and for those of races, whose bytes count once.
    pub fn leased(&self) -> u64 {
        let counted = self.leases.iter().map(|(lease, range)| {
            let Some(second) = self.raced(*lease) else { return range.end - range.start };
            let rival = self.raced_by(*lease).and_then(|rival| self.range(rival));
            let is_behind = rival.is_none_or(|rival| (range.start, second) < (rival.start, !second));
            if is_behind { self.lacking(range) } else { 0 }
        });
        counted.sum()
    }

    fn lacking(&self, range: &Range<u64>) -> u64 {
        let overlaps = self.ranges().map(|here| {
            let end = here.end.min(range.end);
            end.saturating_sub(here.start.max(range.start))
        });
        (range.end - range.start) - overlaps.sum::<u64>()
    }

    /// Returns whether a lease is the second of a race; `None` where there was none. One that is left of a race still
    /// counts: its front may be here already.
    fn raced(&self, lease: Lease) -> Option<bool> {
        let race = self.races.iter().find(|(first, second)| lease == *first || lease == *second);
        race.map(|(_, second)| lease == *second)
    }

    /// Whether a lease was made to race another one.
    #[must_use]
    pub fn is_second(&self, lease: Lease) -> bool {
        self.raced(lease) == Some(true)
    }

    /// Returns the lease that races this one.
    #[must_use]
    pub fn raced_by(&self, lease: Lease) -> Option<Lease> {
        let rival = self.races.iter().find_map(|(first, second)| match lease {
            lease if lease == *first => Some(*second),
            lease if lease == *second => Some(*first),
            _ => None,
        });
        rival.filter(|rival| self.range(*rival).is_some())
    }

    /// Leases what is left of a range under way once more, for a connection that races the one that has it. A range is
    /// raced by one other at the most.
    #[must_use]
    pub fn race(&mut self, lease: Lease) -> Option<(Lease, Range<u64>)> {
        self.length?;
        let (_, range) = self.leases.iter().find(|(id, _)| *id == lease)?;
        if range.is_empty() || self.raced(lease).is_some() {
            return None;
        }
        let (second, range) = self.lease(range.clone());
        self.races.push((lease, second));
        Some((second, range))
    }

    /// Passes over bytes at the front of a piece that the connection which races it has written.
    pub fn skip(&mut self, lease: Lease, count: u64) {
        if let Some((_, range)) = self.leases.iter_mut().find(|(id, _)| *id == lease) {
            range.start += count.min(range.end - range.start);
        }
    }

    /// Returns what a piece still wants.
    #[must_use]
    pub fn range(&self, lease: Lease) -> Option<Range<u64>> {
        self.leases.iter().find(|(id, _)| *id == lease).map(|(_, range)| range.clone())
    }

    /// Returns how many bytes from the first one on are here without a gap.
    #[must_use]
    pub fn front(&self) -> u64 {
        self.here.get(&0).copied().unwrap_or(0)
    }

    /// Returns where the next piece would begin.
    #[must_use]
    pub fn next_start(&self) -> Option<u64> {
        match self.length {
            None => Some(self.have()),
            Some(length) => self.first_gap(length).map(|gap| gap.start),
        }
    }

    /// Returns how many bytes are here without a gap before `start`.
    #[must_use]
    pub fn have_before(&self, start: u64) -> u64 {
        let here = self.ranges().find(|range| range.start < start && start <= range.end);
        here.map_or(0, |range| start - range.start)
    }

    /// Whether every byte is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.length.is_some_and(|length| length == 0 || self.here.get(&0) == Some(&length))
    }

    /// Returns the ranges that are here, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.here.iter().map(|(start, end)| *start..*end)
    }

    /// Sets the length, which an answer has shown. Pieces on their way end there.
    pub fn set_length(&mut self, length: u64) {
        self.length = Some(length);
        for (_, range) in &mut self.leases {
            range.end = range.end.min(length);
        }
    }

    /// Leases the next piece that was not begun. While the length is unknown there is one: the first.
    #[must_use]
    pub fn next(&mut self, cut: &Cut) -> Option<(Lease, Range<u64>)> {
        let Some(length) = self.length else {
            return self.leases.is_empty().then(|| self.lease(self.have()..self.have() + cut.first));
        };
        if self.have() + self.leased() >= length {
            return None;
        }
        let gap = self.first_gap(length)?;
        let end = gap.end.min(gap.start + cut.piece);
        // A remainder smaller than a split is taken along: a tiny last request costs a round trip for nothing.
        let end =
            if gap.end - end < cut.split { gap.end } else { aligned(end, cut.block).max(gap.start + 1) };
        Some(self.lease(gap.start..end))
    }

    /// Leases the second half of the largest piece on its way, where that is worth a round trip. The connection that fetches
    /// the first half learns its new end from [`Self::advance`].
    #[cfg(test)]
    pub fn split(&mut self, cut: &Cut) -> Option<(Lease, Range<u64>)> {
        let (lease, middle) = self.split_point(cut)?;
        self.split_at(lease, middle)
    }

    /// Returns the largest range under way and where to split it, where that is worth a round trip.
    #[must_use]
    pub fn split_point(&self, cut: &Cut) -> Option<(Lease, u64)> {
        self.length?;
        let alone = self.leases.iter().filter(|(lease, _)| self.raced(*lease).is_none());
        let (lease, range) = alone.max_by_key(|(_, range)| range.end - range.start)?;
        let left = range.end - range.start;
        let middle = range.start + left / 2;
        // Blocks are kept whole where that leaves something on both sides.
        let middle = if left >= 4 * cut.block { aligned(middle, cut.block) } else { middle };
        if middle <= range.start || middle - range.start < cut.split || range.end - middle < cut.split {
            return None;
        }
        Some((*lease, middle))
    }

    /// Leases what follows `middle` of a range under way.
    #[must_use]
    pub fn split_at(&mut self, lease: Lease, middle: u64) -> Option<(Lease, Range<u64>)> {
        let is_raced = self.raced(lease).is_some();
        let (_, range) = self.leases.iter_mut().find(|(id, _)| *id == lease)?;
        if is_raced || middle <= range.start || middle >= range.end {
            return None;
        }
        let tail = middle..range.end;
        range.end = middle;
        Some(self.lease(tail))
    }

    /// Returns the bytes that the largest piece on its way still lacks: what a split would halve.
    #[must_use]
    pub fn largest_lease(&self) -> u64 {
        let alone = self.leases.iter().filter(|(lease, _)| self.raced(*lease).is_none());
        alone.map(|(_, range)| range.end - range.start).max().unwrap_or(0)
    }

    /// Shortens the first piece of a file that turned out to be longer than it, where the rest of the answer is better
    /// left to others.
    pub fn shorten(&mut self, lease: Lease, cut: &Cut) {
        let length = self.length.unwrap_or(0);
        if let Some((_, range)) = self.leases.iter_mut().find(|(id, _)| *id == lease)
            && range.end < length
            && range.end - range.start > 2 * cut.piece
        {
            range.end = aligned(range.start + cut.piece, cut.block).max(range.start + 1);
        }
    }

    /// Stretches a piece to the end of the file: the host sends all of it, whatever was asked for.
    pub fn stretch(&mut self, lease: Lease) {
        let end = self.length.unwrap_or(u64::MAX);
        if let Some((_, range)) = self.leases.iter_mut().find(|(id, _)| *id == lease) {
            range.end = end;
        }
    }

    /// Returns how many more bytes a piece wants: less than was asked for, once another one has its second half.
    #[must_use]
    pub fn wanted(&self, lease: Lease) -> u64 {
        self.leases.iter().find(|(id, _)| *id == lease).map_or(0, |(_, range)| range.end - range.start)
    }

    /// Books `count` bytes at the front of a piece as here, and returns how many more the piece wants.
    pub fn advance(&mut self, lease: Lease, count: u64) -> u64 {
        let Some((_, range)) = self.leases.iter_mut().find(|(id, _)| *id == lease) else { return 0 };
        let count = count.min(range.end - range.start);
        let done = range.start..range.start + count;
        range.start += count;
        let left = range.end - range.start;
        self.insert(done);
        left
    }

    /// Ends a lease; what it did not deliver is free to be taken again.
    pub fn release(&mut self, lease: Lease) {
        self.leases.retain(|(id, _)| *id != lease);
        let is_left = |lease: &Lease| self.leases.iter().any(|(id, _)| id == lease);
        self.races.retain(|(first, second)| is_left(first) || is_left(second));
    }

    fn lease(&mut self, range: Range<u64>) -> (Lease, Range<u64>) {
        let lease = Lease(self.next_lease);
        self.next_lease += 1;
        self.leases.push((lease, range.clone()));
        (lease, range)
    }

    /// Adds a range to what is here, joined with its neighbours.
    fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        let touching: Vec<u64> = self
            .here
            .range(..=end)
            .rev()
            .take_while(|(_, other_end)| **other_end >= start)
            .map(|(other_start, _)| *other_start)
            .collect();
        for key in touching {
            if let Some(other_end) = self.here.remove(&key) {
                start = start.min(key);
                end = end.max(other_end);
            }
        }
        self.here.insert(start, end);
    }

    fn first_gap(&self, length: u64) -> Option<Range<u64>> {
        let mut taken: Vec<Range<u64>> =
            self.ranges().chain(self.leases.iter().map(|(_, range)| range.clone())).collect();
        taken.sort_by_key(|range| range.start);
        let mut from = 0;
        for range in taken {
            if range.start > from {
                return Some(from..range.start.min(length));
            }
            from = from.max(range.end);
        }
        (from < length).then_some(from..length)
    }
}

const fn aligned(offset: u64, block: u64) -> u64 {
    offset - offset % block
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    const CUT: Cut = Cut { piece: 40, first: 40, split: 10, block: 10 };

    #[test]
    fn the_first_answer_shows_the_length() {
        let mut map = PieceMap::unknown();
        let (first, range) = map.next(&CUT).unwrap();
        assert_eq!(range, 0..40);
        assert!(map.next(&CUT).is_none(), "it is unknown whether there is more");
        map.set_length(25);
        assert_eq!(map.advance(first, 20), 5);
        assert_eq!(map.advance(first, 5), 0);
        map.release(first);
        assert!(map.is_complete());
    }

    #[test]
    fn pieces_from_the_front_then_halves() {
        let mut map = PieceMap::resumed(100, std::iter::once(0..40));
        let (a, first) = map.next(&CUT).unwrap();
        let (b, second) = map.next(&CUT).unwrap();
        assert_eq!((first, second), (40..80, 80..100));
        assert!(map.next(&CUT).is_none());
        let (c, third) = map.split(&CUT).unwrap();
        assert_eq!(third, 60..80);
        assert_eq!(map.advance(a, 40), 0, "the first half now ends at 60");
        map.advance(b, 20);
        map.advance(c, 20);
        assert!(map.is_complete());
        assert_eq!(map.ranges().collect::<Vec<_>>(), vec![0..100]);
    }

    #[test]
    fn pieces_are_cut_to_what_a_connection_delivers() {
        const CUT: Cut = Cut { piece: 4 << 20, first: 16 << 20, split: 1 << 20, block: 1 << 20 };
        let mib = |length: u64, millis, wait| {
            let mut typical = Typical::default();
            for _ in 0..8 {
                typical.learn(length << 20, Duration::from_millis(millis), Duration::from_millis(wait));
            }
            CUT.to_measure(&typical).piece >> 20
        };
        assert_eq!(CUT.to_measure(&Typical::default()), CUT, "nothing is known");
        assert_eq!(mib(16, 400, 0), 4, "a tenth of a second");
        assert_eq!(mib(16, 9000, 0), 1, "less is not worth a round trip");
        assert_eq!(mib(16, 400, 25), 8, "a long wait for each answer wants longer answers");
        assert_eq!(mib(2, 1, 0), 4, "a fast beginning says little about what follows");
        assert_eq!(mib(16, 10, 0), 16, "no more than is asked for at once");
    }

    #[test]
    fn a_long_file_s_first_answer_is_shared() {
        const CUT: Cut = Cut { piece: 20, first: 100, split: 10, block: 10 };
        let first = |length| {
            let mut map = PieceMap::unknown();
            let (lease, range) = map.next(&CUT).unwrap();
            assert_eq!(range, 0..100);
            map.set_length(length);
            map.shorten(lease, &CUT);
            map.wanted(lease)
        };
        assert_eq!((first(90), first(100)), (90, 100), "one answer has it all");
        assert_eq!(first(101), 20, "others take what follows");
    }

    #[test]
    fn a_broken_piece_is_free_again() {
        let mut map = PieceMap::resumed(40, []);
        let (lease, _) = map.next(&CUT).unwrap();
        map.advance(lease, 7);
        map.release(lease);
        assert_eq!(map.next(&CUT).unwrap().1, 7..40);
    }

    #[test]
    fn small_halves_are_not_worth_it() {
        let mut map = PieceMap::resumed(30, []);
        let (lease, _) = map.next(&CUT).unwrap();
        map.advance(lease, 15);
        assert!(map.split(&CUT).is_none());
    }

    #[test]
    fn two_that_race_for_a_range_count_once() {
        let mut map = PieceMap::resumed(100, []);
        let (a, _) = map.next(&CUT).unwrap();
        map.advance(a, 10);
        let (b, range) = map.race(a).unwrap();
        assert_eq!((range, map.leased(), map.raced_by(a), map.raced_by(b)), (10..40, 30, Some(b), Some(a)));
        assert!(map.race(a).is_none() && map.race(b).is_none(), "one at the most");
        assert!(map.split_at(a, 20).is_none() && map.split_point(&CUT).is_none() && map.largest_lease() == 0);
        // The second is ahead; what it passes over is the first one's to book.
        map.skip(b, 5);
        assert_eq!((map.advance(b, 20), map.have(), map.leased()), (5, 30, 10));
        assert_eq!(map.advance(a, 5), 25);
        assert_eq!(map.next(&CUT).unwrap().1, 40..80, "what is behind them is the next piece");
        map.advance(b, 5);
        map.release(b);
        map.release(a);
        assert_eq!(map.ranges().collect::<Vec<_>>(), vec![0..40]);
        // The first one fails before it has written what it claimed: a gap is requested again.
        let mut map = PieceMap::resumed(40, []);
        let (a, _) = map.next(&CUT).unwrap();
        let (b, _) = map.race(a).unwrap();
        map.skip(b, 8);
        map.advance(b, 32);
        map.release(b);
        assert!(map.next(&CUT).is_none(), "it may still be written");
        map.release(a);
        assert_eq!(map.next(&CUT).unwrap().1, 0..8);
    }

    /// Random order, breaks, splits and races: every byte is booked exactly once, and the end is always reached.
    #[test]
    fn every_byte_once() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let length = random.u64(1..2000);
            let mut map = PieceMap::resumed(length, []);
            // Each with its place, and how far it and its rival have claimed.
            let mut open: Vec<(Lease, u64, Rc<Cell<u64>>)> = Vec::new();
            let mut booked = vec![0_u8; usize::try_from(length).unwrap()];
            for _ in 0..100_000 {
                if map.is_complete() {
                    break;
                }
                if random.bool() && open.len() < 8 {
                    let piece = map.next(&CUT).or_else(|| map.split(&CUT));
                    let piece =
                        piece.map(|(lease, range)| (lease, range.start, Rc::new(Cell::new(range.start))));
                    let mut race = || {
                        let (lease, _, claimed) = random.choice(&open)?;
                        let (second, range) = map.race(*lease)?;
                        Some((second, range.start, claimed.clone()))
                    };
                    let piece = if piece.is_some() { piece } else { race() };
                    open.extend(piece);
                } else if !open.is_empty() {
                    let at = random.usize(..open.len());
                    let (lease, position, claimed) = open[at].clone();
                    let wanted = position + random.u64(0..15).min(map.wanted(lease));
                    let from = claimed.get().max(position).min(wanted);
                    claimed.set(claimed.get().max(wanted));
                    map.skip(lease, from - position);
                    let before = map.have();
                    let left = map.advance(lease, wanted - from);
                    assert_eq!(map.have() - before, wanted - from, "seed {seed}");
                    for offset in from..wanted {
                        booked[usize::try_from(offset).unwrap()] += 1;
                    }
                    assert!(map.have() + map.leased() <= length, "seed {seed}");
                    open[at].1 = wanted;
                    if left == 0 || random.u8(..8) == 0 {
                        map.release(lease);
                        open.remove(at);
                    }
                }
            }
            assert!(map.is_complete(), "seed {seed}");
            assert!(booked.iter().all(|count| *count == 1), "seed {seed}");
        }
    }
}
