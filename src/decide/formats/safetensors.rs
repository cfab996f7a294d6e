//! Safetensors: the header declares exactly how long the file is; the body is not looked at.

use crate::decide::formats::safetensors_header::{MAX_HEADER_BYTES, MIN_HEADER_BYTES, SafetensorsHeader};

use super::cursor::Field;
use super::verdict::{Fault, Verdict};

/// The header's buffer grows by at least this much, so that a header in small chunks is not copied over and over.
const LEAST_GROWTH: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Walk {
    length: Field<8>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Length,
    /// `text` grows as bytes arrive: the declared length may be a lie, and is never allocated on trust.
    Header {
        left: usize,
        text: Vec<u8>,
    },
    Body(Box<SafetensorsHeader>),
}

impl Walk {
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        if matches!(self.state, State::Length) {
            let Some(length) = self.length.take(&mut input) else { return Ok(()) };
            self.state = State::Header { left: header_length(length)?, text: Vec::new() };
        }
        let State::Header { left, text } = &mut self.state else { return Ok(()) };
        let head = &input[..input.len().min(*left)];
        if text.capacity() - text.len() < head.len() {
            text.reserve_exact(head.len().max(text.len() / 2).max(LEAST_GROWTH).min(*left));
        }
        text.extend_from_slice(head);
        *left -= head.len();
        if text.first().is_some_and(|first| *first != b'{') {
            return Err(not_a_header());
        }
        if *left == 0 {
            let header = SafetensorsHeader::parse(text).map_err(|error| {
                // Written block by block into a file of full length: what is missing reads as zeros.
                let unwritten = text.last() == Some(&0);
                if unwritten {
                    Fault::cut("its header, which continues with zeros")
                } else {
                    Fault::bad(&error.to_string())
                }
            })?;
            self.state = State::Body(Box::new(header));
        }
        Ok(())
    }

    pub(super) const fn header(&self) -> Option<&SafetensorsHeader> {
        match &self.state {
            State::Body(header) => Some(header),
            _ => None,
        }
    }

    pub(super) fn finish(self, total: u64) -> Result<Verdict, Fault> {
        let State::Body(header) = self.state else { return Err(Fault::cut("its header")) };
        let declared = header.declared_length;
        if total < declared {
            Ok(Verdict::Short { declared, have: total })
        } else if total > declared {
            Err(Fault::bad(&format!("it is {} bytes longer than its header declares", total - declared)))
        } else {
            Ok(Verdict::Whole)
        }
    }
}

fn header_length(bytes: [u8; 8]) -> Result<usize, Fault> {
    let length = u64::from_le_bytes(bytes);
    let fits = (MIN_HEADER_BYTES..=MAX_HEADER_BYTES).contains(&length);
    usize::try_from(length).ok().filter(|_| fits).ok_or_else(not_a_header)
}

const fn not_a_header() -> Fault {
    Fault::NotA("the length and the `{` of a safetensors header")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;

    use super::super::samples::{TINY_SAFETENSORS, check, safetensors};
    use super::super::{Checker, Format};
    use super::*;

    #[test]
    fn the_length_is_known_once_the_header_has_passed() {
        let mut checker = Checker::new(Format::Safetensors);
        checker.feed(&TINY_SAFETENSORS[..71]);
        assert_eq!((checker.header(), checker.declared_length()), (None, None));
        checker.feed(&TINY_SAFETENSORS[71..72]);
        assert_eq!(checker.declared_length(), Some(84));
        assert_eq!(checker.header().map(|header| header.body_start), Some(72));
        assert_eq!(checker.finish(84), Verdict::Whole, "the body need not be fed");
        assert_eq!(
            check(Format::Safetensors, &TINY_SAFETENSORS[..80]),
            Verdict::Short { declared: 84, have: 80 }
        );
    }

    #[test]
    fn a_hostile_length_is_refused_or_costs_nothing() {
        for length in [0, 1, MAX_HEADER_BYTES + 1, 1 << 63, u64::MAX] {
            let mut checker = Checker::new(Format::Safetensors);
            checker.feed(&length.to_le_bytes());
            assert!(checker.is_hopeless(), "{length}");
        }
        let mut walk = Walk::default();
        walk.feed(&MAX_HEADER_BYTES.to_le_bytes()).unwrap();
        for _ in 0..1000 {
            walk.feed(b"{{{{").unwrap();
        }
        let State::Header { text, .. } = walk.state else { panic!("it should wait for more") };
        assert!(text.capacity() <= 2 * LEAST_GROWTH, "{}", text.capacity());
    }

    #[test]
    fn a_header_that_continues_with_zeros_is_unfinished() {
        let mut file = TINY_SAFETENSORS.to_vec();
        file[30..].fill(0);
        assert!(check(Format::Safetensors, &file).is_unfinished());
    }

    const DTYPES: [&str; 6] = ["F4", "U8", "BF16", "F32", "I64", "F6_E2M3"];

    fn bits(dtype: &str) -> usize {
        match dtype {
            "F4" => 4,
            "F6_E2M3" => 6,
            "U8" => 8,
            "BF16" => 16,
            "F32" => 32,
            _ => 64,
        }
    }

    /// Tensors that lie one behind the other, in an order of their own in the header.
    fn valid_json(tensors: &[(usize, Vec<usize>)], rotate: usize, pretty: bool) -> (String, usize) {
        let mut entries =
            vec![r#""__metadata__":{"format":"pt","training_info":"{\"step\": 250}"}"#.to_owned()];
        let mut reached = 0;
        for (at, (dtype, shape)) in tensors.iter().enumerate() {
            let dtype = DTYPES[*dtype];
            let mut shape = shape.clone();
            if !(shape.iter().product::<usize>() * bits(dtype)).is_multiple_of(8) {
                shape.push(4);
            }
            let end = reached + shape.iter().product::<usize>() * bits(dtype) / 8;
            entries.push(format!(
                r#""t{at}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{reached},{end}]}}"#
            ));
            reached = end;
        }
        let rotate = rotate % entries.len();
        entries.rotate_left(rotate);
        let separator = if pretty { ",\n  " } else { "," };
        (format!("{{{}}}   ", entries.join(separator)), reached)
    }

    /// Whether the format's own library takes the file. Exceptions, which the tests below do not make:
    /// it lets the last of two equal names win and takes white space before the `{`, we refuse both;
    /// it refuses element types that it does not know, we cannot know what comes and take them.
    fn library_takes(file: &[u8]) -> bool {
        SafeTensors::deserialize(file).is_ok()
    }

    fn tensors() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
        prop::collection::vec((0..DTYPES.len(), prop::collection::vec(0_usize..5, 0..4)), 0..6)
    }

    proptest! {
        #[test]
        fn valid_files_are_whole_as_the_library_takes_them(tensors in tensors(), rotate in 0_usize..8, pretty: bool) {
            let (json, body) = valid_json(&tensors, rotate, pretty);
            let file = safetensors(&json, body);
            prop_assert!(library_takes(&file), "{}", json);
            prop_assert_eq!(check(Format::Safetensors, &file), Verdict::Whole, "{}", json);
        }

        #[test]
        fn changed_files_are_judged_as_the_library_does(
            tensors in tensors(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"0123456789,:[]{}\" -.eU\xc3".to_vec())), 0..3),
            from in prop::sample::select(vec!["", "[0,", "shape", "dtype", "U8", ",", "}", "\"t1\"", "__metadata__"]),
            to in prop::sample::select(vec!["[1,", "Shape", "U16", "18446744073709551615", ",1", "null", "\"t0\":1,"]),
            more in -3_i64..4,
            length in -2_i64..3,
        ) {
            let (json, body) = valid_json(&tensors, 1, false);
            let json = if from.is_empty() { json } else { json.replacen(from, to, 1) };
            let mut file = safetensors(&json, usize::try_from(body as i64 + more).unwrap_or(0));
            for (at, byte) in changes {
                let at = 9 + at.index(json.len() - 1);
                file[at] = byte;
            }
            let declared = (json.len() as i64 + length) as u64;
            file[..8].copy_from_slice(&declared.to_le_bytes());
            let text = String::from_utf8_lossy(&file[8..]).into_owned();
            // The exceptions: names that became equal, and element types that became unknown.
            let twice = (0..6).any(|at| text.matches(&format!("\"t{at}\"")).count() > 1);
            let known = |dtype: &&str| text.matches(&format!("\"dtype\":\"{dtype}\"")).count();
            if twice || text.matches("\"dtype\":\"").count() > DTYPES.iter().map(known).sum() {
                return Ok(());
            }
            let ours = check(Format::Safetensors, &file);
            prop_assert_eq!(ours == Verdict::Whole, library_takes(&file), "{}: {:?}", text, ours);
        }
    }
}
