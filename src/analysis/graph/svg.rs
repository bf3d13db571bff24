//! A drawing as SVG: words stay words, and the reader's own setting chooses between light and dark.
//!
//! The colours are Okabe and Ito's, lighter or darker, so that people tell them apart whatever colours they see: a test
//! computes that. None says anything alone: a line that is down is dashed and has a cross, an answer has its words, a
//! change has its sign.

use std::fmt::Write;

use super::drawing::{Drawing, Label, LabelStyle, Line, LineKind, Shape};
use super::metrics::FONT;
use super::{LinkKind, LinkState, MarkKind, NodeKind, Tone};

/// What is the same in light and dark.
const FORMS: &str = "\
.g text{font-family:Helvetica,Arial,'Liberation Sans',sans-serif;font-size:12px}.g .h{font-weight:700;font-size:14px}
.g .n,.g .d{font-weight:700}.g rect,.g polyline{stroke-width:1.5}.g polyline,.g .m,.g .gone,.g .x{fill:none}
.g .sub,.g .m{stroke-width:1}.g .sub{stroke-dasharray:2 2}.g .gone{stroke-dasharray:5 4}
.g .tunnel{stroke-dasharray:9 3}.g .er,.g .reach{stroke-width:3}.g .reach{stroke-dasharray:9 3 2 3}
.g .half{stroke-dasharray:3 4}.g .down{stroke-dasharray:2 5}.g .inet{stroke-width:1}.g .inet.half{stroke-dasharray:1 4}
.g .way,.g .on,.g .x{stroke-width:2.5}.g .way.back{stroke-dasharray:7 3}.g .bg,.g .c{stroke:none}
.g .add,.g .del,.g .chg,.g .yes,.g .no,.g .may{stroke-width:2.5}.g text.del{text-decoration:line-through}
.g text{stroke:none}.g .del{stroke-dasharray:5 4}.g .no{stroke-dasharray:6 3}.g .may{stroke-dasharray:2 2}
";

/// The colours of one setting.
struct Palette {
    page: &'static str,
    words: &'static str,
    dim: &'static str,
    network: &'static str,
    machine: &'static str,
    outside: &'static str,
    blue: &'static str,
    red: &'static str,
    yellow: &'static str,
    green: &'static str,
}

const LIGHT: Palette = Palette {
    page: "#ffffff",
    words: "#1b1f24",
    dim: "#57606a",
    network: "#eaf3fb",
    machine: "#f6f8fa",
    outside: "#fdf6e9",
    blue: "#0072b2",
    red: "#761200",
    yellow: "#946200",
    green: "#00714f",
};

const DARK: Palette = Palette {
    page: "#0d1117",
    words: "#e6edf3",
    dim: "#9ea7b3",
    network: "#10233a",
    machine: "#1a212b",
    outside: "#2b2414",
    blue: "#56b4e9",
    red: "#f07a3c",
    yellow: "#f0e442",
    green: "#2ec79b",
};

impl Palette {
    /// Written out, since many programs that show SVG know no variables.
    fn rules(&self) -> String {
        let Self { page, words, dim, network, machine, outside, blue, red, yellow, green } = self;
        format!(
            ".g text{{fill:{words}}}.g .b,.g .l{{fill:{dim}}}.g rect{{fill:{machine};stroke:{dim}}}.g .bg,.g .sub{{fill:{page}}}\n\
             .g .vnet{{fill:{network};stroke:{blue}}}.g .out{{fill:{outside}}}.g polyline,.g .m{{stroke:{dim}}}.g .m{{fill:none}}\n\
             .g .way,.g .on{{stroke:{blue}}}.g .way.back{{stroke:{yellow}}}.g .x{{stroke:{red}}}.g .d{{fill:{page}}}\n\
             .g .c{{fill:{blue}}}.g .c.back{{fill:{yellow}}}.g .c.end{{fill:{red}}}.g .bg,.g .c{{stroke:none}}\n\
             {}",
            [("add", green), ("del", red), ("chg", yellow), ("yes", blue), ("no", red), ("may", yellow)]
                .map(|(class, colour)| {
                    format!(".g .{class}{{stroke:{colour}}}.g text.{class}{{fill:{colour};stroke:none}}")
                })
                .concat()
        )
    }
}

fn style() -> String {
    format!("{FORMS}{}\n@media(prefers-color-scheme:dark){{{}}}\n", LIGHT.rules(), DARK.rules())
}

/// The drawing as one SVG element, which a file or a page may hold.
pub fn svg(drawing: &Drawing) -> String {
    let Drawing { width, height, title, .. } = drawing;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"g\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{0}\">\n<title>{0}</title>\n<style>\n{1}</style>\n\
         <rect class=\"bg\" width=\"{width}\" height=\"{height}\"/>\n",
        escaped(title),
        style()
    );
    drawing.shapes.iter().for_each(|one| shape(&mut text, one));
    let is_way = |line: &&Line| matches!(line.kind, LineKind::Way { .. });
    drawing.lines.iter().filter(|line| !is_way(line)).for_each(|one| line(&mut text, one));
    drawing.lines.iter().filter(is_way).for_each(|one| line(&mut text, one));
    drawing.labels.iter().for_each(|one| label(&mut text, one));
    text + "</svg>\n"
}

fn shape(text: &mut String, shape: &Shape) {
    let kind = match shape.kind {
        NodeKind::VirtualNetwork => "vnet",
        NodeKind::Subnet => "sub",
        NodeKind::Internet | NodeKind::Site | NodeKind::Client | NodeKind::PrivateCloud | NodeKind::Circuit => "out",
        NodeKind::Missing => "gone",
        NodeKind::Gateway | NodeKind::RouteServer | NodeKind::LoadBalancer | NodeKind::NatGateway => "dev",
        NodeKind::Machine | NodeKind::PrivateEndpoint | NodeKind::Attached => "",
    };
    let classes = joined(&[kind, tone(shape.tone), if shape.marked { "on" } else { "" }]);
    let rect = shape.rect;
    let round = if matches!(shape.kind, NodeKind::Internet | NodeKind::Circuit) { 14 } else { 4 };
    let _ = writeln!(
        text,
        "<rect{classes} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{round}\"><title>{}</title></rect>",
        rect.x,
        rect.y,
        rect.w,
        rect.h,
        escaped(&shape.tip)
    );
}

fn line(text: &mut String, line: &Line) {
    let classes = match line.kind {
        LineKind::Link(kind, state) => {
            let kind = match kind {
                LinkKind::Peering => "",
                LinkKind::Tunnel => "tunnel",
                LinkKind::ExpressRoute => "er",
                LinkKind::GlobalReach => "reach",
                LinkKind::Internet => "inet",
            };
            let state = match state {
                LinkState::Up => "",
                LinkState::OneSided(_) => "half",
                LinkState::Down => "down",
            };
            joined(&[kind, state, tone(line.tone)])
        }
        LineKind::Way { back, .. } => joined(&["way", if back { "back" } else { "" }]),
    };
    let points: Vec<_> = line.points.iter().map(|(x, y)| format!("{x},{y}")).collect();
    let _ = writeln!(text, "<polyline{classes} points=\"{}\"/>", points.join(" "));
    if let Some((x, y)) = line.cross {
        let _ = writeln!(text, "<path class=\"x\" d=\"M{0} {1}l10 10m0 -10l-10 10\"/>", x - 5, y - 5);
    }
}

fn label(text: &mut String, label: &Label) {
    let rect = label.rect;
    // Where letters stand in a line of them.
    let base = rect.y + i32::midpoint(rect.h, FONT) - 2;
    let (class, x) = match label.style {
        LabelStyle::Heading => ("h", rect.x),
        LabelStyle::Name | LabelStyle::Mark(MarkKind::Answer) => ("n", rect.x),
        LabelStyle::Body => ("b", rect.x),
        LabelStyle::Link => ("l", rect.x),
        LabelStyle::Mark(kind) => {
            let round = if kind == MarkKind::RouteTable { 1 } else { 7 };
            let classes = joined(&["m", tone(label.tone)]);
            let _ = writeln!(
                text,
                "<rect{classes} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{round}\"/>",
                rect.x,
                rect.y + 1,
                rect.w,
                rect.h - 2
            );
            ("b", rect.x + 6)
        }
        LabelStyle::Badge { back, cross } => {
            let (x, y) = (rect.x + 9, rect.y + rect.h / 2);
            let classes = joined(&["c", if back { "back" } else { "" }, if cross { "end" } else { "" }]);
            let _ = writeln!(text, "<circle{classes} cx=\"{x}\" cy=\"{y}\" r=\"8\"/>");
            let _ =
                writeln!(text, "<text class=\"d\" x=\"{x}\" y=\"{base}\" text-anchor=\"middle\">{}</text>", label.text);
            if cross {
                let _ = writeln!(text, "<path class=\"x\" d=\"M{0} {1}l6 6m0 -6l-6 6\"/>", x + 8, y - 9);
            }
            return;
        }
    };
    let classes = joined(&[class, tone(label.tone)]);
    let _ = writeln!(text, "<text{classes} x=\"{x}\" y=\"{base}\">{}</text>", escaped(&label.text));
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Added => "add",
        Tone::Removed => "del",
        Tone::Changed => "chg",
        Tone::Yes => "yes",
        Tone::No => "no",
        Tone::Depends => "may",
    }
}

fn joined(classes: &[&str]) -> String {
    let classes: Vec<_> = classes.iter().copied().filter(|class| !class.is_empty()).collect();
    if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) }
}

/// Text as XML has it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What eyes without one kind of cone make of red, green and blue light: Machado, Oliveira and Fernandes, 2009.
    const EYES: [(&str, [[f64; 3]; 3]); 4] = [
        ("all cones", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "protanopia",
            [
                [0.152_286, 1.052_583, -0.204_868],
                [0.114_503, 0.786_281, 0.099_216],
                [-0.003_882, -0.048_116, 1.051_998],
            ],
        ),
        (
            "deuteranopia",
            [[0.367_322, 0.860_646, -0.227_968], [0.280_085, 0.672_501, 0.047_413], [-0.011_820, 0.042_940, 0.968_881]],
        ),
        (
            "tritanopia",
            [
                [1.255_528, -0.076_749, -0.178_779],
                [-0.078_411, 0.930_809, 0.147_602],
                [0.004_733, 0.691_367, 0.303_900],
            ],
        ),
    ];
    /// A difference of 2 is just seen where both lie beside each other (CIE 1976).
    const APART: f64 = 20.0;

    fn light(colour: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| {
            let part = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap_or_default()) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn mixed(rows: [[f64; 3]; 3], light: [f64; 3]) -> [f64; 3] {
        rows.map(|row| row.iter().zip(light).map(|(factor, part)| factor * part).sum::<f64>().clamp(0.0, 1.0))
    }

    fn perceived(light: [f64; 3]) -> [f64; 3] {
        let white = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8729]];
        let [x, y, z] =
            mixed(white, light).map(|part| if part > 0.008_856 { part.cbrt() } else { 7.787 * part + 16.0 / 116.0 });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    #[test]
    fn colours_of_one_picture_are_told_apart_by_all_eyes() {
        for (setting, palette) in [("light", LIGHT), ("dark", DARK)] {
            let Palette { blue, red, yellow, green, .. } = palette;
            // Answers and ways; changes.
            let pairs = [(blue, red), (blue, yellow), (red, yellow), (green, red), (green, yellow)];
            for (eyes, rows) in EYES {
                for (one, other) in pairs {
                    let [a, b] = [one, other].map(|colour| perceived(mixed(rows, light(colour))));
                    let distance = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                    assert!(distance > APART, "{setting}, {eyes}: {one} and {other} are {distance:.0} apart");
                }
            }
        }
    }

    #[test]
    fn words_and_lines_stand_out_from_what_is_behind_them() {
        let brightness = |colour| light(colour).iter().zip([0.2126, 0.7152, 0.0722]).map(|(a, b)| a * b).sum::<f64>();
        for palette in [LIGHT, DARK] {
            let Palette { page, words, dim, network, machine, outside, blue, red, yellow, green } = palette;
            for front in [words, dim, blue, red, yellow, green] {
                for back in [page, network, machine, outside] {
                    let [a, b] = [front, back].map(brightness);
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    // WCAG 2.1, 1.4.3.
                    assert!(contrast >= 4.5, "{front} on {back}: {contrast:.1}");
                }
            }
        }
    }
}
