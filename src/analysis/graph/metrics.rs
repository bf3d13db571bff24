//! How much room words and gaps take: in pixels of a picture, or in characters of a terminal.

/// Distances of a layout, and the width of words.
#[derive(Clone, Copy, Debug)]
pub struct Metrics {
    /// The height of a line of words.
    pub(super) line: i32,
    /// From a box's border to what is in it.
    pub(super) pad: (i32, i32),
    /// Between boxes side by side, and one above the other.
    pub(super) gap: (i32, i32),
    /// Lines end on a grid of this step.
    pub(super) pin: i32,
    /// Between two lines that run side by side.
    pub(super) track: i32,
    /// Around everything.
    pub(super) margin: i32,
    /// Wanted width of the whole.
    pub(super) page: i32,
    /// Whether the width may grow with what there is to show.
    grows: bool,
    /// How many times higher than wide one unit is.
    pub(super) tallness: i32,
    /// What a mark has around its words, in all.
    pub(super) mark: i32,
    /// The width of a badge.
    pub(super) badge: i32,
    /// Whether there is room between boxes for ways; without, numbers alone tell them.
    pub(super) ways: bool,
    width: fn(&str, bool) -> i32,
}

impl Metrics {
    /// Pixels, with words of 12.
    pub const fn pixels() -> Self {
        Self {
            line: 17,
            pad: (14, 10),
            gap: (16, 14),
            pin: 6,
            track: 10,
            margin: 20,
            page: 860,
            grows: true,
            tallness: 1,
            mark: 12,
            badge: 24,
            ways: true,
            width: pixels,
        }
    }

    /// Characters of a terminal with so many columns.
    pub const fn characters(columns: i32) -> Self {
        Self {
            line: 1,
            pad: (2, 1),
            gap: (2, 0),
            pin: 1,
            track: 1,
            margin: 0,
            page: columns,
            grows: false,
            tallness: 2,
            mark: 2,
            badge: 5,
            ways: false,
            width: |text, _| i32::try_from(text.chars().count()).unwrap_or(i32::MAX),
        }
    }

    pub(super) fn width(&self, text: &str, bold: bool) -> i32 {
        (self.width)(text, bold)
    }

    /// The width to aim at for boxes that take so much room together.
    pub(super) fn page_for(&self, area: i64) -> i32 {
        let wanted = (area * 9 / 5).isqrt();
        if self.grows { self.page.max(i32::try_from(wanted).unwrap_or(i32::MAX)) } else { self.page }
    }

    /// Words in lines of at most this width.
    pub(super) fn wrapped(&self, text: &str, most: i32) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split(' ') {
            match lines.last_mut() {
                Some(line) if self.width(&format!("{line} {word}"), false) <= most => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    }
}

/// The size of words, in pixels.
pub(super) const FONT: i32 = 12;

/// Widths of Helvetica's characters from the space on, in thousandths of its size; fonts that take its place differ
/// by less than what is added.
const HELVETICA: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
];

fn pixels(text: &str, bold: bool) -> i32 {
    let of = |character: char| {
        let index = (character as usize).wrapping_sub(' ' as usize);
        HELVETICA.get(index).map_or(1000, |width| i32::from(*width))
    };
    let thousandths: i32 = text.chars().map(of).sum();
    // A twelfth for wider fonts, as much again for bold ones.
    let slack = if bold { 14 } else { 13 };
    (thousandths * FONT * slack + 11_999) / 12_000
}
