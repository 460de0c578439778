//! One measured figure, and how it is printed.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

/// A figure. In JSON it is one line; what does not apply is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Where it belongs and what it is, such as `exchange.1to1.cpu`.
    pub name: String,
    /// The median over the rounds.
    pub value: f64,
    /// Of the value.
    pub unit: &'static str,
    /// What the ratio compares with, measured in the same rounds.
    pub against: Option<String>,
    /// The median, over the rounds, of value ÷ what it is compared with.
    pub ratio: Option<f64>,
    /// The limit of the ratio; `bound` says on which side.
    pub goal: Option<f64>,
    /// Whether the ratio is to be at most or at least that. In JSON `met` says it.
    #[serde(skip)]
    pub bound: Option<Bound>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// On which side of its goal a ratio is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Not above it.
    AtMost,
    /// Not below it.
    AtLeast,
}

/// Processor time in microseconds.
pub const MICROSECONDS: &str = "µs";
/// Time on the wall in milliseconds.
pub const MILLISECONDS: &str = "ms";
/// Calls answered a second.
pub const A_SECOND: &str = "1/s";

impl Figure {
    /// A value that is compared with nothing.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let name = name.into();
        Figure { name, value: round(value), unit, against: None, ratio: None, goal: None, bound: None, met: None }
    }

    /// The same, compared.
    pub fn against(self, against: impl Into<String>, ratio: f64) -> Self {
        Figure { against: Some(against.into()), ratio: Some(round(ratio)), ..self }
    }

    /// The same, with an upper goal for its ratio if there is one.
    pub fn at_most(self, goal: Option<f64>) -> Self {
        self.bounded(goal, Bound::AtMost)
    }

    /// The same, with a lower goal for its ratio.
    pub fn at_least(self, goal: f64) -> Self {
        self.bounded(Some(goal), Bound::AtLeast)
    }

    fn bounded(self, goal: Option<f64>, bound: Bound) -> Self {
        let met = self.ratio.zip(goal).map(|(ratio, goal)| match bound {
            Bound::AtMost => ratio <= goal,
            Bound::AtLeast => ratio >= goal,
        });
        Figure { goal, bound: goal.map(|_| bound), met, ..self }
    }
}

/// Four significant digits: more are noise.
fn round(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// All figures, for a person.
pub fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["figure", "value", "unit", "ratio", "goal", "against"]);
    for figure in figures {
        let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
        let sign = if figure.bound == Some(Bound::AtLeast) { '≥' } else { '≤' };
        let goal = match figure.met {
            Some(true) => format!("{sign} {} met", number(figure.goal)),
            Some(false) => format!("{sign} {} missed", number(figure.goal)),
            None => String::new(),
        };
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(&figure.name),
            right(figure.value.to_string()),
            Cell::new(figure.unit),
            right(figure.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default()),
            Cell::new(goal),
            Cell::new(figure.against.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_figure() {
        let bare = Figure::new("http.echo", 12.344_9, MICROSECONDS);
        let line = serde_json::to_string(&bare).expect("JSON");
        let expected =
            r#"{"name":"http.echo","value":12.34,"unit":"µs","against":null,"ratio":null,"goal":null,"met":null}"#;
        assert_eq!(line, expected);

        let compared = Figure::new("exchange.cpu", 400.0, MICROSECONDS).against("the unavoidable", 1.249_6);
        let line = serde_json::to_string(&compared.clone().at_most(Some(1.25))).expect("JSON");
        assert!(line.ends_with(r#""against":"the unavoidable","ratio":1.25,"goal":1.25,"met":true}"#), "{line}");
        assert_eq!(compared.clone().at_most(Some(1.24)).met, Some(false));
        assert_eq!(
            (compared.clone().at_least(1.25).met, compared.clone().at_least(1.26).met),
            (Some(true), Some(false))
        );
        assert_eq!(compared.at_most(None).met, None);
    }

    #[test]
    fn a_goal_without_a_ratio_is_not_met_nor_missed() {
        assert_eq!(Figure::new("x", 1.0, A_SECOND).at_most(Some(1.0)).met, None);
    }

    #[test]
    fn four_digits() {
        for (exact, rounded) in [(0.0, 0.0), (123_456.0, 123_500.0), (0.012_345_6, 0.012_35), (99.999, 100.0)] {
            assert_eq!(round(exact), rounded);
        }
    }

    #[test]
    fn a_table_has_a_line_a_figure() {
        let figures = [Figure::new("a", 1.0, A_SECOND), Figure::new("b", 2.0, A_SECOND).against("a", 2.0)];
        let text = table(&figures).to_string();
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().any(|line| line.contains("2.00") && line.contains('b')));
    }
}
