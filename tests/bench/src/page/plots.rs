//! Plots as SVG. One look for all of them: a white ground, so that they can be read in any theme, and
//! colours that people who do not see red and green apart can tell.

use std::path::Path;

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::tables::number;
use crate::system::Failure;

/// Size of a plot in pixels.
const SIZE: (u32, u32) = (820, 440);
/// Colours of the systems (Okabe and Ito).
const COLOURS: [(&str, RGBColor); 4] = [
    ("RingRift", RGBColor(0, 114, 178)),
    ("etcd", RGBColor(230, 159, 0)),
    ("NATS JetStream", RGBColor(0, 158, 115)),
    ("RabbitMQ", RGBColor(204, 121, 167)),
];
/// Pixels at the top for the title and the names of the systems.
const TOP: u32 = 68;
/// Pixels from one name to the next.
const NAME_WIDTH: i32 = 150;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// What is drawn.
pub(super) struct Plot {
    /// Its file's name, without the ending.
    pub(super) name: &'static str,
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) look: Look,
    pub(super) series: Vec<Series>,
}

/// An axis.
pub(super) struct Axis {
    pub(super) title: String,
    pub(super) logarithmic: bool,
}

/// How the points are shown.
pub(super) enum Look {
    /// Groups of bars with these titles; a point's x is the number of its group.
    Bars(Vec<String>),
    /// The same with dots, for logarithmic axes, on which a bar has no foot.
    Dots(Vec<String>),
    /// Lines through the points.
    Lines,
}

/// The points of one system.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Draws `plot` into the file at `path`.
///
/// # Errors
/// [`Failure::Setup`] when it cannot be drawn or written.
pub(super) fn draw(plot: &Plot, path: &Path) -> Result<(), Failure> {
    let failed = |error: Box<dyn std::error::Error>| {
        Failure::Setup(format!("cannot draw {}: {error}", path.display()))
    };
    let mut text = String::new();
    {
        let canvas = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        canvas.fill(&WHITE).map_err(|error| failed(error.into()))?;
        let (top, rest) = canvas.split_vertically(TOP);
        heading(plot, &top).map_err(failed)?;
        on_axes(plot, &canvas, &rest).map_err(failed)?;
        canvas.present().map_err(|error| failed(error.into()))?;
    }
    std::fs::write(path, text).map_err(Failure::file(format!("write {}", path.display())))
}

fn colour(name: &str) -> RGBColor {
    COLOURS.iter().find(|(of, _)| *of == name).map_or(INK, |(_, colour)| *colour)
}

/// The smallest and the largest value of an axis, with room around them.
fn range(values: impl Iterator<Item = f64>, axis: &Axis) -> std::ops::Range<f64> {
    let (low, high) =
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    if axis.logarithmic {
        let low = if low.is_finite() && low > 0.0 { low } else { 0.01 };
        // Whole decades, so that the first and the last line of the grid have a label.
        10.0_f64.powf(low.log10().floor())..10.0_f64.powf(high.max(low * 1.01).log10().ceil())
    } else {
        0.0..(high.max(0.0) * 1.15).max(1.0)
    }
}

/// The title, and which colour is whose: above the drawing, where they hide nothing.
fn heading(plot: &Plot, canvas: &Canvas<'_>) -> Drawn {
    let style = (FONT, 20).into_text_style(canvas).color(&INK);
    let (width, _) = canvas.dim_in_pixel();
    let middle = i32::try_from(width / 2)?;
    let centred = style.pos(Pos::new(HPos::Center, VPos::Top));
    canvas.draw(&Text::new(plot.title.clone(), (middle, 14), centred))?;
    let names = i32::try_from(plot.series.len())?;
    for (series, at) in plot.series.iter().zip(0..) {
        let left = middle - names * NAME_WIDTH / 2 + at * NAME_WIDTH;
        let mark = Rectangle::new([(left, 46), (left + 14, 58)], colour(series.name).filled());
        canvas.draw(&mark)?;
        let style = (FONT, 14).into_text_style(canvas).color(&INK);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        canvas.draw(&Text::new(series.name, (left + 20, 52), style))?;
    }
    Ok(())
}

/// `canvas` is the whole picture, on which places beside the axes are found; `rest` is what the
/// heading leaves of it.
fn on_axes<'a>(plot: &Plot, canvas: &Canvas<'a>, rest: &Canvas<'a>) -> Drawn {
    let points = || plot.series.iter().flat_map(|series| series.points.iter().copied());
    let y = range(points().map(|point| point.1), &plot.y);
    let x = match &plot.look {
        Look::Bars(groups) | Look::Dots(groups) => {
            -0.5..f64::from(u32::try_from(groups.len())?) - 0.5
        }
        Look::Lines => range(points().map(|point| point.0), &plot.x),
    };
    let mut builder = ChartBuilder::on(rest);
    builder
        .margin(14)
        // Half of the last label of the axis stands beyond its end.
        .margin_right(44)
        .x_label_area_size(46)
        .y_label_area_size(74);
    // The kinds of axes are types of their own.
    match (plot.x.logarithmic, plot.y.logarithmic) {
        (false, false) => fill(plot, canvas, builder.build_cartesian_2d(x, y)?),
        (true, false) => fill(plot, canvas, builder.build_cartesian_2d(x.log_scale(), y)?),
        (false, true) => fill(plot, canvas, builder.build_cartesian_2d(x, y.log_scale())?),
        (true, true) => {
            fill(plot, canvas, builder.build_cartesian_2d(x.log_scale(), y.log_scale())?)
        }
    }
}

fn fill<'a, X, Y>(
    plot: &Plot,
    canvas: &Canvas<'a>,
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let groups = match &plot.look {
        Look::Bars(groups) | Look::Dots(groups) => Some(groups),
        Look::Lines => None,
    };
    let label = |value: &f64| number(*value);
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(&plot.x.title)
        .y_desc(&plot.y.title)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .axis_desc_style((FONT, 15).into_font().color(&INK))
        .label_style((FONT, 14).into_font().color(&INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT);
    if groups.is_some() {
        mesh.disable_x_mesh().x_labels(0);
    }
    mesh.draw()?;
    for (at, series) in plot.series.iter().enumerate() {
        let ink = colour(series.name);
        match &plot.look {
            Look::Lines => {
                chart.draw_series(LineSeries::new(series.points.clone(), ink.stroke_width(3)))?;
            }
            Look::Bars(_) | Look::Dots(_) => {
                let place = Place::of(at, plot.series.len());
                let foot = chart.y_range().start;
                values(canvas, &chart, series, &place)?;
                let bars = matches!(plot.look, Look::Bars(_));
                let shape = |(x, y): &(f64, f64)| place.shape((*x, *y), foot, bars, ink);
                chart.draw_series(series.points.iter().map(shape))?;
            }
        }
    }
    for (group, x) in groups.into_iter().flatten().zip(0_u32..) {
        let (left, foot) = chart.backend_coord(&(f64::from(x), chart.y_range().start));
        let style =
            (FONT, 15).into_text_style(canvas).color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
        canvas.draw(&Text::new(group.clone(), (left, foot + 10), style))?;
    }
    Ok(())
}

/// The place of a system within each group.
struct Place {
    left: f64,
    right: f64,
}

impl Place {
    fn of(at: usize, count: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "four systems at most")]
        let (at, width) = (at as f64, 0.8 / count.max(1) as f64);
        Self { left: -0.4 + at * width, right: -0.4 + (at + 0.94) * width }
    }

    fn middle(&self) -> f64 {
        f64::midpoint(self.left, self.right)
    }

    fn shape<'a>(
        &self,
        (x, y): (f64, f64),
        foot: f64,
        bar: bool,
        ink: RGBColor,
    ) -> DynElement<'static, SVGBackend<'a>, (f64, f64)> {
        if bar {
            Rectangle::new([(x + self.left, foot), (x + self.right, y)], ink.filled()).into_dyn()
        } else {
            Circle::new((x + self.middle(), y), 6, ink.filled()).into_dyn()
        }
    }
}

/// Writes each value above its bar or dot.
fn values<X, Y>(
    canvas: &Canvas<'_>,
    chart: &ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    series: &Series,
    place: &Place,
) -> Drawn
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for (x, y) in &series.points {
        let (left, top) = chart.backend_coord(&(x + place.middle(), *y));
        let style = (FONT, 12)
            .into_text_style(canvas)
            .color(&INK)
            .pos(Pos::new(HPos::Center, VPos::Bottom));
        canvas.draw(&Text::new(number(*y), (left, top - 8), style))?;
    }
    Ok(())
}
