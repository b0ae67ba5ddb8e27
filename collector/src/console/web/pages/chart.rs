//! Charts, drawn as SVG. Invariant: whole numbers alone; the same values draw the same bytes, and every value that is
//! drawn stands in the table behind the chart.

use askama::Template;

/// The drawing, in its own units: it is scaled to its place.
const WIDTH: i64 = 720;
const HEIGHT: i64 = 240;
const LEFT: i64 = 64;
const RIGHT: i64 = 12;
const TOP: i64 = 12;
const BOTTOM: i64 = 28;

/// Lines across.
const TICKS: i64 = 4;

/// Labels below, at most: more would run into each other.
const LABELS_MAX: usize = 10;

/// Colours that there are; what comes behind them is one series.
pub const SERIES_MAX: usize = 8;

/// How values are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A line through them.
    Line,
    /// A line that holds each value up to the next: what tiers do.
    Steps,
    /// Bars on each other.
    Stack,
}

/// Values over the same labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// One for each label; none: not known.
    pub values: Vec<Option<i64>>,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What the labels are: the head of the table's first column.
    pub over: &'static str,
    /// The unit of the values: `seats`, `EUR`.
    pub unit: String,
    /// Decimal places that the values carry: amounts in cents have 2.
    pub places: u32,
    /// Along the lower edge.
    pub labels: Vec<String>,
    /// At most [`SERIES_MAX`].
    pub series: Vec<Series>,
    /// How they are drawn.
    pub shape: Shape,
    /// Labels that are marked, by their place: the steps of tiers.
    pub marks: Vec<usize>,
}

/// Those that reach highest first, and what is beyond the colours as one: no value is lost.
pub fn highest_first(mut all: Vec<Series>) -> Vec<Series> {
    let peak = |series: &Series| series.values.iter().flatten().copied().max();
    all.sort_by_key(|series| std::cmp::Reverse(peak(series)));
    if all.len() > SERIES_MAX {
        let others = all.split_off(SERIES_MAX - 1);
        let count = others.iter().map(|series| series.values.len()).max().unwrap_or(0);
        let sum = |at: usize| {
            let values = others.iter().filter_map(|series| series.values.get(at).copied().flatten());
            values.reduce(i64::saturating_add)
        };
        all.push(Series { name: format!("{} others", others.len()), values: (0..count).map(sum).collect() });
    }
    all
}

#[derive(Template)]
#[template(path = "chart.html")]
struct Drawn<'a> {
    chart: &'a Chart,
    ticks: Vec<(i64, String)>,
    labels: Vec<(i64, &'a str)>,
    lines: Vec<(usize, String)>,
    bars: Vec<Bar>,
    marks: Vec<i64>,
    rows: Vec<(&'a str, Vec<String>)>,
    width: i64,
    height: i64,
    left: i64,
    right: i64,
    top: i64,
    bottom: i64,
}

struct Bar {
    series: usize,
    x: i64,
    y: i64,
    width: i64,
    height: i64,
}

impl Chart {
    /// As HTML, with its table.
    pub fn drawn(&self) -> String {
        let scale = Scale::of(self);
        let x = |at: usize| scale.x(at, self.labels.len(), self.shape);
        let every = self.labels.len().div_ceil(LABELS_MAX).max(1);
        let ticks = (0..=TICKS).map(|tick| scale.low + (scale.high - scale.low) / TICKS * tick);
        let rows = self.labels.iter().enumerate().map(|(at, label)| {
            let of = |series: &Series| {
                series.values.get(at).copied().flatten().map_or_else(String::new, |value| self.text(value))
            };
            (label.as_str(), self.series.iter().map(of).collect())
        });
        let drawn = Drawn {
            chart: self,
            ticks: ticks.map(|value| (scale.y(value), self.text(value))).collect(),
            labels: self
                .labels
                .iter()
                .enumerate()
                .step_by(every)
                .map(|(at, label)| (x(at), label.as_str()))
                .collect(),
            lines: self.lines(&scale),
            bars: self.bars(&scale),
            marks: self.marks.iter().map(|at| x(*at)).collect(),
            rows: rows.collect(),
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right: WIDTH - RIGHT,
            top: TOP,
            bottom: HEIGHT - BOTTOM,
        };
        drawn.render().expect("a drawing is text")
    }

    fn lines(&self, scale: &Scale) -> Vec<(usize, String)> {
        if self.shape == Shape::Stack {
            return Vec::new();
        }
        let x = |at: usize| scale.x(at, self.labels.len(), self.shape);
        let line = |series: &Series| {
            let mut path = String::new();
            let mut before: Option<i64> = None;
            for (at, value) in series.values.iter().enumerate() {
                let y = value.map(|value| scale.y(value));
                match (before, y) {
                    (_, None) => {}
                    (None, Some(y)) => path.push_str(&format!("M{} {y}", x(at))),
                    (Some(_), Some(y)) if self.shape == Shape::Steps => {
                        path.push_str(&format!("H{}V{y}", x(at)))
                    }
                    (Some(_), Some(y)) => path.push_str(&format!("L{} {y}", x(at))),
                }
                before = y;
            }
            path
        };
        self.series.iter().map(line).enumerate().filter(|(_, path)| !path.is_empty()).collect()
    }

    fn bars(&self, scale: &Scale) -> Vec<Bar> {
        if self.shape != Shape::Stack {
            return Vec::new();
        }
        let slot = (WIDTH - LEFT - RIGHT) / self.labels.len().max(1) as i64;
        let width = (slot * 4 / 5).max(1);
        let mut bars = Vec::new();
        for at in 0..self.labels.len() {
            let mut below = 0;
            for (series, values) in self.series.iter().enumerate() {
                let Some(value) = values.values.get(at).copied().flatten().filter(|value| *value > 0) else {
                    continue;
                };
                let (from, to) = (scale.y(below), scale.y(below + value));
                below += value;
                let x = scale.x(at, self.labels.len(), self.shape) - width / 2;
                bars.push(Bar { series, x, y: to, width, height: from - to });
            }
        }
        bars
    }

    /// A value with its decimal places.
    fn text(&self, value: i64) -> String {
        if self.places == 0 {
            return value.to_string();
        }
        let unit = 10_u64.pow(self.places);
        let (whole, part) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
        let sign = if value < 0 { "-" } else { "" };
        format!("{sign}{whole}.{part:0places$}", places = self.places as usize)
    }
}

/// From values to places.
struct Scale {
    low: i64,
    high: i64,
}

impl Scale {
    /// From nothing up, or down, to a round number behind the last value.
    fn of(chart: &Chart) -> Self {
        let all = || chart.series.iter().flat_map(|series| series.values.iter().flatten().copied());
        let stacked = (0..chart.labels.len()).map(|at| {
            chart.series.iter().filter_map(|series| series.values.get(at).copied().flatten()).sum()
        });
        let high = match chart.shape {
            Shape::Stack => stacked.max(),
            Shape::Line | Shape::Steps => all().max(),
        };
        let (low, high) = (all().min().unwrap_or(0).min(0), high.unwrap_or(0).max(1));
        let step = round((high - low).saturating_add(TICKS - 1) / TICKS);
        let low = low.div_euclid(step) * step;
        let reach = (high - low).saturating_add(step - 1) / step;
        Self { low, high: low + step * ((reach + TICKS - 1) / TICKS * TICKS) }
    }

    fn y(&self, value: i64) -> i64 {
        let (room, all) = (HEIGHT - TOP - BOTTOM, i128::from(self.high - self.low).max(1));
        let up = i128::from(value - self.low) * i128::from(room) / all;
        HEIGHT - BOTTOM - up as i64
    }

    fn x(&self, at: usize, labels: usize, shape: Shape) -> i64 {
        let (room, at, labels) = (WIDTH - LEFT - RIGHT, at as i64, labels.max(1) as i64);
        match shape {
            Shape::Stack => LEFT + room * (2 * at + 1) / (2 * labels),
            Shape::Line | Shape::Steps => LEFT + room * at / (labels - 1).max(1),
        }
    }
}

/// The next of 1, 2, 5, 10, 20 and so on.
fn round(value: i64) -> i64 {
    let mut power = 1_i64;
    loop {
        for step in [1, 2, 5] {
            let step = power.saturating_mul(step);
            if step >= value {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(shape: Shape, values: &[Option<i64>]) -> Chart {
        Chart {
            title: "Seats <by> day".to_owned(),
            over: "Day",
            unit: "seats".to_owned(),
            places: 0,
            labels: (1..=values.len()).map(|day| day.to_string()).collect(),
            series: vec![Series { name: "A&B".to_owned(), values: values.to_vec() }],
            shape,
            marks: Vec::new(),
        }
    }

    #[test]
    fn every_value_stands_in_the_table_and_names_are_text() {
        let drawn = chart(Shape::Line, &[Some(3), None, Some(17)]).drawn();
        assert!(
            drawn.contains("<td class=\"number\">3</td>") && drawn.contains("<td class=\"number\">17</td>"),
            "{drawn}"
        );
        assert!(!drawn.contains("<by>") && !drawn.contains("A&B"), "{drawn}");
    }

    #[test]
    fn what_is_drawn_stays_within_its_frame() {
        for values in [
            vec![],
            vec![None],
            vec![Some(0)],
            vec![Some(-7), Some(12)],
            vec![Some(i64::from(u32::MAX)); 400],
        ] {
            for shape in [Shape::Line, Shape::Steps, Shape::Stack] {
                let chart = chart(shape, &values);
                let scale = Scale::of(&chart);
                for (at, value) in values.iter().enumerate() {
                    let x = scale.x(at, values.len(), shape);
                    assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x} of {shape:?}");
                    let y = value.map(|value| scale.y(value)).unwrap_or(TOP);
                    assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{y} of {value:?} {shape:?}");
                }
                chart.drawn();
            }
        }
    }

    #[test]
    fn lines_across_stand_at_round_numbers() {
        for (value, ticks) in [(40, [0, 10, 20, 30, 40]), (43, [0, 20, 40, 60, 80]), (3, [0, 1, 2, 3, 4])] {
            let scale = Scale::of(&chart(Shape::Line, &[Some(value)]));
            let step = (scale.high - scale.low) / TICKS;
            assert_eq!([0, 1, 2, 3, 4].map(|tick| scale.low + step * tick), ticks, "{value}");
        }
    }

    #[test]
    fn a_gap_stays_a_gap_and_a_step_holds() {
        let gap = chart(Shape::Line, &[Some(1), None, Some(1)]);
        assert_eq!(gap.lines(&Scale::of(&gap))[0].1.matches('M').count(), 2);
        let steps = chart(Shape::Steps, &[Some(1), Some(4)]);
        assert!(steps.lines(&Scale::of(&steps))[0].1.contains('H'));
    }

    #[test]
    fn what_is_beyond_the_colours_is_one_series_and_nothing_is_lost() {
        let of = |count: i64| {
            let series =
                |at: i64| Series { name: at.to_string(), values: vec![None, Some(at), Some(100 + at)] };
            highest_first((0..count).map(series).collect())
        };
        let names = |all: &[Series]| all.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&of(8)), ["7", "6", "5", "4", "3", "2", "1", "0"]);
        let twelve = of(12);
        assert_eq!(names(&twelve), ["11", "10", "9", "8", "7", "6", "5", "5 others"]);
        // 0 to 4, and five more hundreds.
        assert_eq!(twelve[7].values, [None, Some(10), Some(510)]);
    }

    #[test]
    fn amounts_have_their_places() {
        let cents = Chart { places: 2, ..chart(Shape::Line, &[]) };
        assert_eq!((cents.text(-5).as_str(), cents.text(123_456).as_str()), ("-0.05", "1234.56"));
    }
}
