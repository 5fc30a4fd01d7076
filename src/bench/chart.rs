//! Plots as SVG, drawn by hand so that a report is one file which needs nothing else.
//!
//! ```text
//!   title
//!   10k ┤        ╭────────      lines share both axes; areas are stacked on each other
//!    5k ┤   ╭────╯
//!     0 ┼───────────────── s
//! ```
//!
//! Invariant: whatever the numbers are, what is drawn lies within the frame.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;

/// Lines between the bottom and the top of a plot, at most.
const TICKS_MAX: f64 = 5.0;

/// Colours that people who see few of them can tell apart (Okabe and Ito).
pub(super) const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

/// How a number is written at an axis.
pub(super) type Write = fn(f64) -> String;

/// One line or area of a plot.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// By their time, in seconds.
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot over time.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) series: Vec<Series>,
    /// Each on top of the one before it.
    pub(super) is_stacked: bool,
    pub(super) write: Write,
}

/// A plot of one bar for each name.
pub(super) struct Bars {
    pub(super) title: &'static str,
    pub(super) groups: Vec<(&'static str, Vec<(&'static str, f64)>)>,
    pub(super) write: Write,
}

/// The frame of a plot: what lies where.
struct Frame {
    x_max: f64,
    y_max: f64,
    step: f64,
}

impl Frame {
    fn new(x_max: f64, y_max: f64) -> Self {
        let y_max = if y_max.is_finite() && y_max > 0.0 { y_max } else { 1.0 };
        let step = step(y_max);
        let x_max = if x_max.is_finite() && x_max > 0.0 { x_max } else { 1.0 };
        Self { x_max, y_max: (y_max / step).ceil() * step, step }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (value / self.x_max).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / self.y_max).clamp(0.0, 1.0)
    }

    /// The heading, and the lines that values are read at.
    fn begin(&self, out: &mut String, title: &str, write: Write) {
        write_to(
            out,
            format_args!(
                "<figure><figcaption>{title}</figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n"
            ),
        );
        let mut value = 0.0;
        while value <= self.y_max * 1.001 {
            let (y, label) = (self.y(value), write(value));
            let right = WIDTH - RIGHT;
            write_to(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" \
                 y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
                    LEFT - 8.0,
                    y + 4.0
                ),
            );
            value += self.step;
        }
    }

    /// Times below the plot.
    fn write_times(&self, out: &mut String) {
        let step = step(self.x_max);
        let mut time = 0.0;
        while time <= self.x_max * 1.001 {
            write_to(
                out,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>\n",
                    self.x(time),
                    HEIGHT - 12.0,
                    round(time)
                ),
            );
            time += step;
        }
    }
}

impl Chart {
    /// The plot, or words where there is nothing to be drawn.
    pub(super) fn draw(&self, out: &mut String) {
        if self.series.iter().all(|series| series.points.len() < 2) {
            let Self { title, .. } = self;
            write_to(
                out,
                format_args!(
                    "<figure><figcaption>{title}</figcaption>\
                 <p class=\"none\">not measured</p></figure>\n"
                ),
            );
            return;
        }
        let lines = self.lines();
        let points = || lines.iter().flatten();
        let x_max = points().map(|point| point.0).fold(0.0, f64::max);
        let y_max = points().map(|point| point.1).fold(0.0, f64::max);
        let frame = Frame::new(x_max, y_max);
        frame.begin(out, self.title, self.write);
        frame.write_times(out);
        // The uppermost area first: the others are drawn over it.
        for (number, line) in lines.iter().enumerate().rev() {
            let colour = COLOURS[number % COLOURS.len()];
            let mut path = String::new();
            for (x, y) in line {
                write_to(&mut path, format_args!("{:.1},{:.1} ", frame.x(*x), frame.y(*y)));
            }
            if self.is_stacked
                && let (Some(first), Some(last)) = (line.first(), line.last())
            {
                let (from, to, bottom) = (frame.x(first.0), frame.x(last.0), frame.y(0.0));
                write_to(
                    out,
                    format_args!(
                        "<polygon fill=\"{colour}\" points=\"{from:.1},{bottom:.1} {path}\
                     {to:.1},{bottom:.1}\"/>\n"
                    ),
                );
            } else {
                write_to(out, format_args!("<polyline stroke=\"{colour}\" points=\"{path}\"/>\n"));
            }
        }
        out.push_str("</svg>\n");
        legend(out, self.series.iter().map(|series| series.name));
        out.push_str("</figure>\n");
    }

    /// The points of each line, those of areas with all that is below them.
    fn lines(&self) -> Vec<Vec<(f64, f64)>> {
        let mut lines: Vec<Vec<(f64, f64)>> = Vec::new();
        for series in &self.series {
            let mut line = series.points.clone();
            if self.is_stacked
                && let Some(below) = lines.last()
            {
                for (point, under) in line.iter_mut().zip(below) {
                    point.1 += under.1;
                }
            }
            lines.push(line);
        }
        lines
    }
}

impl Bars {
    /// The plot; nothing where there is no group.
    pub(super) fn draw(&self, out: &mut String) {
        let all = || self.groups.iter().flat_map(|(_, bars)| bars);
        let count = all().count();
        if count == 0 {
            return;
        }
        let frame = Frame::new(1.0, all().map(|bar| bar.1).fold(0.0, f64::max));
        frame.begin(out, self.title, self.write);
        #[allow(clippy::cast_precision_loss)] // A few bars.
        let places = (count + self.groups.len() - 1) as f64;
        let width = (WIDTH - LEFT - RIGHT) / places;
        let mut left = LEFT;
        for (number, (_, bars)) in self.groups.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            for (name, value) in bars {
                let (top, middle) = (frame.y(*value), left + width / 2.0);
                write_to(
                    out,
                    format_args!(
                        "<rect fill=\"{colour}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
                     height=\"{:.1}\"/><text x=\"{middle:.1}\" y=\"{:.1}\" \
                     text-anchor=\"middle\">{name}</text>\n\
                     <text class=\"value\" x=\"{middle:.1}\" y=\"{:.1}\" \
                     text-anchor=\"middle\">{}</text>\n",
                        left + width * 0.15,
                        width * 0.7,
                        frame.y(0.0) - top,
                        HEIGHT - 12.0,
                        (top - 4.0).max(TOP - 2.0),
                        (self.write)(*value)
                    ),
                );
                left += width;
            }
            left += width;
        }
        out.push_str("</svg>\n");
        legend(out, self.groups.iter().map(|(name, _)| *name));
        out.push_str("</figure>\n");
    }
}

fn legend<'a>(out: &mut String, names: impl Iterator<Item = &'a str>) {
    out.push_str("<p class=\"legend\">");
    for (number, name) in names.enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        write_to(out, format_args!("<span><i style=\"background:{colour}\"></i>{name}</span>"));
    }
    out.push_str("</p>\n");
}

/// 1, 2 or 5 times a power of ten, so that at most [`TICKS_MAX`] of them reach `max`.
fn step(max: f64) -> f64 {
    let least = max / TICKS_MAX;
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|part| part * power)
        .into_iter()
        .find(|one| *one >= least * 0.999)
        .unwrap_or(max)
}

/// As few digits as tell steps apart.
pub(super) fn round(value: f64) -> String {
    let text = format!("{value:.3}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Counts: 1.5k, 2M.
pub(super) fn count(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", round(value / 1e6)),
        1e3.. => format!("{}k", round(value / 1e3)),
        _ => round(value),
    }
}

/// Bytes, in powers of ten.
pub(super) fn bytes(value: f64) -> String {
    match value {
        1e9.. => format!("{} GB", round(value / 1e9)),
        _ => format!("{} MB", round(value / 1e6)),
    }
}

pub(super) fn write_to(out: &mut String, words: std::fmt::Arguments<'_>) {
    out.write_fmt(words).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        for (max, expected) in [(1.0, 0.2), (9.0, 2.0), (10.0, 2.0), (15_000.0, 5000.0), (0.7, 0.2)]
        {
            assert!((step(max) - expected).abs() < 1e-9, "{max}: {}", step(max));
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(count(15_000.0), "15k");
        assert_eq!(count(1_500_000.0), "1.5M");
        assert_eq!((count(0.0), round(0.2)), ("0".to_owned(), "0.2".to_owned()));
        assert_eq!((bytes(2e9), bytes(5e6)), ("2 GB".to_owned(), "5 MB".to_owned()));
    }

    /// All numbers of all `points` attributes.
    fn coordinates(svg: &str) -> Vec<(f64, f64)> {
        let lists = svg.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        lists
            .flat_map(str::split_whitespace)
            .map(|point| point.split_once(',').unwrap())
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect()
    }

    #[test]
    fn everything_lies_within_the_frame_and_areas_stand_on_each_other() {
        let points = |values: [f64; 3]| (0..3).map(f64::from).zip(values).collect();
        let odd = [f64::INFINITY, -5.0, 1e300];
        for (values, is_stacked) in [([1.0, 2.0, 3.0], true), (odd, false), ([0.0; 3], true)] {
            let series = ["a", "b"].map(|name| Series { name, points: points(values) });
            let chart = Chart { title: "t", series: series.into(), is_stacked, write: count };
            let mut svg = String::new();
            chart.draw(&mut svg);
            let found = coordinates(&svg);
            assert!(found.len() >= 6, "{svg}");
            for (x, y) in found {
                assert!((LEFT..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{x} {y}");
            }
        }
        let series = ["a", "b"].map(|name| Series { name, points: points([1.0, 2.0, 3.0]) });
        let chart = Chart { title: "t", series: series.into(), is_stacked: true, write: count };
        assert_eq!(chart.lines()[1], [(0.0, 2.0), (1.0, 4.0), (2.0, 6.0)]);
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let series = vec![Series { name: "a", points: vec![(0.0, 1.0)] }];
        let mut svg = String::new();
        Chart { title: "t", series, is_stacked: false, write: count }.draw(&mut svg);
        assert!(svg.contains("not measured") && !svg.contains("<svg"), "{svg}");
    }
}
