//! Plots of what a benchmark has measured, as SVG files: one line for each series over named places of the x axis.
//!
//! They are drawn where `REVERIE_BENCH_PLOTS` names a folder (`docs/plots`, for the figures in `docs/benchmarks.md`).
#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::path::PathBuf;

use plotters::prelude::*;

/// Width and height of a plot in pixels.
const SIZE: (u32, u32) = (720, 400);

/// Height of the y axis, as a multiple of the largest value: the legend stands above the lines.
const HEADROOM: f64 = 1.5;

/// Lines that are told apart on white, also without telling red from green (Okabe and Ito, 2008).
const COLORS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// What to draw.
pub struct Plot<'a> {
    /// Name of the file, without its ending.
    pub name: &'a str,
    pub title: &'a str,
    /// What the x axis shows, and its places from left to right.
    pub across: (&'a str, Vec<String>),
    /// What the y axis shows; it begins at 0.
    pub up: &'a str,
    /// Name and values, one for each place.
    pub series: Vec<(&'a str, Vec<f64>)>,
}

impl Plot<'_> {
    /// Writes the file, if plots are wanted.
    pub fn draw(&self) {
        let Some(folder) = std::env::var_os("REVERIE_BENCH_PLOTS").map(PathBuf::from) else { return };
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(self.name).with_extension("svg");
        let (what, places) = &self.across;
        let most =
            self.series.iter().flat_map(|(_, values)| values).fold(0.0_f64, |most, value| most.max(*value));
        let area = SVGBackend::new(&file, SIZE).into_drawing_area();
        // A page may be dark.
        area.fill(&WHITE).unwrap();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(-0.3..places.len() as f64 - 0.7, 0.0..most * HEADROOM)
            .unwrap();
        let place = |x: &f64| {
            let whole = (x - x.round()).abs() < 0.01 && *x > -0.5;
            places.get(x.round() as usize).filter(|_| whole).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(places.len() * 2)
            .x_label_formatter(&place)
            .x_desc(*what)
            .y_desc(self.up)
            .label_style(("sans-serif", 14))
            .draw()
            .unwrap();
        for (index, (name, values)) in self.series.iter().enumerate() {
            let color = COLORS[index % COLORS.len()];
            let points: Vec<(f64, f64)> =
                values.iter().enumerate().map(|(x, value)| (x as f64, *value)).collect();
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            let legend = move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 20, y)], COLORS[index % COLORS.len()].stroke_width(2))
            };
            chart.draw_series(line).unwrap().label(*name).legend(legend);
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, color.filled()))).unwrap();
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .draw()
            .unwrap();
        area.present().unwrap();
        drop(chart);
        println!("\nwritten: {}", file.display());
    }
}
