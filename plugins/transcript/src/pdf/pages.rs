//! Lines on pages, from top to bottom: paragraphs, pairs, the bars beside messages, and a foot with the page's number. All
//! measures are in points. It must not know what the document says.

use pdf_writer::types::TextRenderingMode;
use pdf_writer::{Buf, Content, Name, Str};

use super::font::Font;
use super::lines::{Line, wrap};
use crate::options::Paper;
use crate::transcript::Side;

/// Room around what is written, and where the foot stands in the lower one.
const MARGIN: f32 = 54.0;
const BOTTOM: f32 = 66.0;
const FOOT: f32 = 42.0;

/// Between a head and the moment beside it, and of the foot's number.
const GAP: f32 = 12.0;
const NUMBER: f32 = 90.0;

/// How wide a bar is, and the lines that make letters bold, in parts of their size.
const BAR: f32 = 2.0;
const BOLD: f32 = 0.035;

/// What the pages call the font.
pub(super) const FONT: Name<'_> = Name(b"F");

/// How a text looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Face {
    pub(super) size: f32,
    /// From line to line.
    pub(super) leading: f32,
    /// Letters are drawn with a line around them: the font has one weight.
    pub(super) bold: bool,
    /// 0 is black.
    pub(super) grey: f32,
}

/// Pages as they grow.
pub(super) struct Pages {
    width: f32,
    height: f32,
    done: Vec<Content>,
    page: Content,
    /// Where the next line has its upper edge, from the lower edge of the page.
    y: f32,
    /// The upper end of the bar on this page, and whose message is beside it.
    bar: Option<(f32, Side)>,
}

/// Pages that are done.
pub(super) struct Finished {
    pub(super) width: f32,
    pub(super) height: f32,
    /// What each page draws.
    pub(super) contents: Vec<Buf>,
}

impl Pages {
    pub(super) fn new(paper: Paper) -> Self {
        let (width, height) = match paper {
            Paper::A4 => (595.0, 842.0),
            Paper::Letter => (612.0, 792.0),
        };
        Self { width, height, done: Vec::new(), page: Content::new(), y: height - MARGIN, bar: None }
    }

    fn next_page(&mut self) {
        let bar = self.bar;
        self.close_bar();
        self.done.push(std::mem::replace(&mut self.page, Content::new()));
        self.y = self.height - MARGIN;
        self.bar = bar.map(|(_, side)| (self.y, side));
    }

    /// Leaves room, but not at the top of a page.
    pub(super) fn space(&mut self, height: f32) {
        if self.y < self.height - MARGIN {
            self.y -= height;
        }
    }

    /// Begins a page unless there is so much room on this one.
    pub(super) fn keep(&mut self, height: f32) {
        if self.y - height < BOTTOM {
            self.next_page();
        }
    }

    /// A thin line from margin to margin.
    pub(super) fn rule(&mut self) {
        rule(&mut self.page, self.y, self.width);
    }

    /// A bar begins here, beside what is written until it is closed.
    pub(super) fn open_bar(&mut self, side: Side) {
        self.bar = Some((self.y, side));
    }

    /// The bar ends here.
    pub(super) fn close_bar(&mut self) {
        let Some((top, side)) = self.bar.take() else { return };
        let (r, g, b) = if side == Side::Customer { (0.11, 0.39, 0.72) } else { (0.6, 0.6, 0.6) };
        self.page.set_fill_rgb(r, g, b).rect(MARGIN, self.y, BAR, top - self.y).fill_nonzero();
    }

    /// Text from `left` of the margin to the other margin.
    pub(super) fn paragraph(&mut self, font: &mut Font, text: &str, left: f32, face: Face) {
        let room = self.width - 2.0 * MARGIN - left;
        for line in wrap(text, font, units(font, room, face)) {
            self.keep(face.leading);
            self.y -= face.leading;
            let x = if line.rtl { self.width - MARGIN - points(font, &line, face) } else { MARGIN + left };
            self.draw(&line, x, face);
        }
    }

    /// A label at the margin and a value that begins at `left` of it.
    pub(super) fn pair(&mut self, font: &mut Font, label: (&str, Face), value: (&str, Face), left: f32) {
        self.keep(value.1.leading);
        let y = self.y;
        self.beside(font, label, MARGIN, y);
        self.paragraph(font, value.0, left, value.1);
    }

    /// A text set in by `left`, and another at the right margin.
    pub(super) fn head(&mut self, font: &mut Font, who: (&str, Face), when: (&str, Face), left: f32) {
        let whole = self.width - 2.0 * MARGIN;
        let mut taken = left;
        if let Some(line) = wrap(when.0, font, units(font, whole / 2.0, when.1)).into_iter().next() {
            let width = points(font, &line, when.1);
            let y = self.y;
            self.beside(font, when, self.width - MARGIN - width, y);
            taken += width + GAP;
        }
        for line in wrap(who.0, font, units(font, whole - taken, who.1)) {
            self.keep(who.1.leading);
            self.y -= who.1.leading;
            self.draw(&line, MARGIN + left, who.1);
        }
    }

    /// The first line of a text, from `x` on, below `y`.
    fn beside(&mut self, font: &mut Font, text: (&str, Face), x: f32, y: f32) {
        let room = units(font, self.width - MARGIN - x + 1.0, text.1);
        if let Some(line) = wrap(text.0, font, room).first() {
            show(&mut self.page, line, x, y - text.1.leading, text.1);
        }
    }

    fn draw(&mut self, line: &Line, x: f32, face: Face) {
        show(&mut self.page, line, x, self.y, face);
    }

    /// The pages, each with its foot: a text, and which of how many it is.
    pub(super) fn finish(mut self, font: &mut Font, text: &str, face: Face) -> Finished {
        self.done.push(self.page);
        let pages = self.done.len();
        let room = units(font, self.width - 2.0 * MARGIN - NUMBER, face);
        let text = wrap(text, font, room).into_iter().next().unwrap_or_default();
        let mut contents = Vec::with_capacity(pages);
        for (index, mut page) in self.done.into_iter().enumerate() {
            rule(&mut page, FOOT + face.leading + 4.0, self.width);
            show(&mut page, &text, MARGIN, FOOT, face);
            for line in wrap(&format!("Page {} of {pages}", index + 1), font, u32::MAX) {
                let x = self.width - MARGIN - points(font, &line, face);
                show(&mut page, &line, x, FOOT, face);
            }
            contents.push(page.finish());
        }
        Finished { width: self.width, height: self.height, contents }
    }
}

/// Draws a line whose lower edge is at `y`.
fn show(page: &mut Content, line: &Line, x: f32, y: f32, face: Face) {
    if line.numbers.is_empty() {
        return;
    }
    let mut bytes = Vec::with_capacity(line.numbers.len() * 2);
    line.numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    page.begin_text().set_font(FONT, face.size).set_fill_gray(face.grey);
    if face.bold {
        page.set_stroke_gray(face.grey).set_line_width(face.size * BOLD);
        page.set_text_rendering_mode(TextRenderingMode::FillStroke);
    } else {
        page.set_text_rendering_mode(TextRenderingMode::Fill);
    }
    // Below the baseline is about a quarter of the letters' size.
    let baseline = y + (face.leading - face.size) / 2.0 + face.size * 0.25;
    page.next_line(x, baseline).show(Str(&bytes)).end_text();
}

fn rule(page: &mut Content, y: f32, width: f32) {
    page.set_stroke_gray(0.75).set_line_width(0.5).move_to(MARGIN, y).line_to(width - MARGIN, y).stroke();
}

/// A width in units of the font at the size of a face.
fn units(font: &Font, width: f32, face: Face) -> u32 {
    (width.max(0.0) * font.em() / face.size) as u32
}

fn points(font: &Font, line: &Line, face: Face) -> f32 {
    line.width as f32 * face.size / font.em()
}
