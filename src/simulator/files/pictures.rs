//! Sample pictures: noise that clears up during the training, with the step and the prompt written on it.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};

use super::noise;
use crate::simulator::plan::PictureFormat;

/// Good enough to read the text, small enough to keep thousands.
const JPEG_QUALITY: u8 = 80;

/// The smallest side on which eight-pixel letters make sense.
const SMALLEST_SIDE: u16 = 16;

/// The largest side: a picture is drawn in memory.
const LARGEST_SIDE: u16 = 2048;

/// The recipe of one sample.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// The stream of its noise and colours.
    pub(crate) seed: u64,
    /// The stream of its subject: the same at every step of one prompt.
    pub(crate) subject: u64,
    /// The step that is written on it.
    pub(crate) step: u64,
    /// The steps of the whole run: at the last one the noise is gone.
    pub(crate) total: u64,
    /// The prompt that is written on it.
    pub(crate) prompt: String,
    pub(crate) format: PictureFormat,
    /// Width and height in pixels.
    pub(crate) side: u16,
}

impl Picture {
    /// Draws the picture and encodes it.
    pub(crate) fn draw(&self) -> Vec<u8> {
        let side = self.side.clamp(SMALLEST_SIDE, LARGEST_SIDE);
        let mut canvas = Canvas { side: usize::from(side), pixels: vec![0; usize::from(side).pow(2) * 3] };
        self.paint(&mut canvas);
        self.caption(&mut canvas);
        let mut file = Vec::new();
        let encoded = match self.format {
            PictureFormat::Jpg => jpeg_encoder::Encoder::new(&mut file, JPEG_QUALITY)
                .encode(&canvas.pixels, side, side, jpeg_encoder::ColorType::Rgb)
                .is_ok(),
            PictureFormat::Png => encode_png(&mut file, &canvas.pixels, side).is_ok(),
        };
        // Encoding into memory fails for bad dimensions alone, and those were clamped.
        debug_assert!(encoded, "a picture of {side} pixels could not be encoded");
        file
    }

    /// A disc before a slope of colour, behind noise that thins out with the steps.
    fn paint(&self, canvas: &mut Canvas) {
        let side = canvas.side;
        let clear = u64::min(self.step, self.total.max(1)) * 256 / self.total.max(1);
        let clear = u32::try_from(clear).unwrap_or(256);
        let [hue, tint, x, y, size, ..] = word_bytes(self.subject);
        let centre = |byte: u8| side / 4 + usize::from(byte) * side / 512;
        let radius = side / 8 + usize::from(size) * side / 2048;
        for row in 0..side {
            for column in 0..side {
                let slope = u8::try_from((row + column) * 255 / (2 * side)).unwrap_or(255);
                let inside =
                    row.abs_diff(centre(y)).pow(2) + column.abs_diff(centre(x)).pow(2) < radius.pow(2);
                let picture = if inside {
                    [255 - hue, 255 - tint, 255 - slope / 2]
                } else {
                    [hue / 2 + slope / 2, slope, tint / 2 + (255 - slope) / 2]
                };
                // Noise in squares of four pixels: finer grain would only make the file larger.
                let grain = word_bytes(noise::word(self.seed, ((row / 4) * side + column / 4) as u64));
                let mixed = std::array::from_fn(|channel| mix(grain[channel], picture[channel], clear));
                canvas.set(column, row, mixed);
            }
        }
    }

    fn caption(&self, canvas: &mut Canvas) {
        const LINES: usize = 3;
        let columns = (canvas.side / 8).saturating_sub(1).max(1);
        let letters: Vec<char> = self.prompt.chars().filter(|letter| !letter.is_control()).collect();
        let lines: Vec<&[char]> = letters.chunks(columns).take(LINES).collect();
        let top = canvas.side.saturating_sub(lines.len() * 10 + 4);
        canvas.darken(0, 22);
        canvas.darken(top, canvas.side);
        canvas.write(4, 3, 2, &format!("step {}", self.step).chars().collect::<Vec<_>>());
        for (number, line) in lines.iter().enumerate() {
            canvas.write(4, top + 3 + number * 10, 1, line);
        }
    }
}

struct Canvas {
    side: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn set(&mut self, column: usize, row: usize, colour: [u8; 3]) {
        if column < self.side && row < self.side {
            let at = (row * self.side + column) * 3;
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Makes the rows `from..to` dark, so that white letters can be read on them.
    fn darken(&mut self, from: usize, to: usize) {
        let (from, to) = (from.min(self.side), to.min(self.side));
        for value in &mut self.pixels[from * self.side * 3..to * self.side * 3] {
            *value /= 4;
        }
    }

    fn write(&mut self, left: usize, top: usize, scale: usize, letters: &[char]) {
        for (number, letter) in letters.iter().enumerate() {
            let glyph = BASIC_FONTS.get(*letter).or_else(|| LATIN_FONTS.get(*letter));
            let glyph = glyph.or_else(|| BASIC_FONTS.get('?')).unwrap_or_default();
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    for (down, right) in
                        (0..scale).flat_map(|down| (0..scale).map(move |right| (down, right)))
                    {
                        let x = left + (number * 8 + column) * scale + right;
                        self.set(x, top + row * scale + down, [255; 3]);
                    }
                }
            }
        }
    }
}

/// Mixes noise and picture: all noise at 0, all picture at 256.
fn mix(noise: u8, picture: u8, clear: u32) -> u8 {
    let mixed = (u32::from(noise) * (256 - clear) + u32::from(picture) * clear) / 256;
    u8::try_from(mixed).unwrap_or(u8::MAX)
}

fn word_bytes(word: u64) -> [u8; 8] {
    word.to_le_bytes()
}

fn encode_png(file: &mut Vec<u8>, pixels: &[u8], side: u16) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(file, side.into(), side.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(step: u64, format: PictureFormat) -> Picture {
        let prompt = "a photo of ohwx dog, größer 🐕".to_owned();
        Picture { seed: step, subject: 77, step, total: 2000, prompt, format, side: 128 }
    }

    #[test]
    fn a_jpg_begins_and_ends_as_one() {
        let file = picture(0, PictureFormat::Jpg).draw();
        assert!(file.starts_with(&[0xff, 0xd8, 0xff]) && file.ends_with(&[0xff, 0xd9]));
        assert_eq!(file, picture(0, PictureFormat::Jpg).draw());
        assert_ne!(file, picture(250, PictureFormat::Jpg).draw());
    }

    #[test]
    fn a_png_can_be_decoded() {
        let file = picture(2000, PictureFormat::Png).draw();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a header");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("a whole picture");
        assert_eq!((info.width, info.height), (128, 128));
        let white = pixels.chunks(3).filter(|pixel| **pixel == [255; 3]).count();
        assert!(white > 200, "letters are missing: {white} white pixels");
    }

    #[test]
    fn odd_sides_and_no_prompt_are_fine() {
        for side in [0, 1, 17, 33] {
            let odd = Picture { side, prompt: String::new(), ..picture(5, PictureFormat::Jpg) };
            assert!(odd.draw().len() > 100);
        }
    }
}
