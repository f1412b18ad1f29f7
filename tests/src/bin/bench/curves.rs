//! Cost against the size of the IOTLB, and against the length of a range, as one SVG.

use std::path::Path;

use SeriesLabelPosition::{MiddleRight, UpperLeft};
use plotters::prelude::*;
use smmuv3_tests::bench::SIZES;
use smmuv3_tests::bench::work::{FULL_BATCH, STREAM, Work};

use super::timing::{Contender, measure};

/// log2 of the pages of the ranges.
const LENGTHS: [u64; 10] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18];
/// Entries beside which ranges are measured.
const BESIDE: u32 = 1024;

/// One curve, ours or the reference's.
struct Curve {
    name: &'static str,
    color: RGBColor,
    ours: bool,
    points: Vec<(f64, f64)>,
}

/// Measures, and draws.
pub(crate) fn draw(path: &Path, rounds: u32) -> Result<(), String> {
    let sizes = |work: fn(u32) -> Work| SIZES.map(|entries| (f64::from(entries), work(entries)));
    let mut by_size = Vec::new();
    by_size.extend(pair("hit", BLUE, rounds, STREAM, &sizes(Work::FullHits)));
    by_size.extend(pair(
        "16 pages",
        GREEN,
        rounds,
        FULL_BATCH,
        &sizes(|entries| Work::FullRange(entries, 4)),
    ));
    by_size.extend(pair("1 GiB", RED, rounds, FULL_BATCH, &sizes(|entries| Work::FullRange(entries, 18))));
    let lengths = LENGTHS.map(|log2| ((1u64 << log2) as f64, Work::FullRange(BESIDE, log2)));
    let by_length = pair("range", RED, rounds, FULL_BATCH, &lengths);

    let path = path.display().to_string();
    let root = SVGBackend::new(&path, (1200, 560)).into_drawing_area();
    let (left, right) = root.split_horizontally(600);
    root.fill(&WHITE)
        .and_then(|()| chart(&left, "by entries of a full IOTLB", "entries", &by_size, UpperLeft))
        .and_then(|()| {
            chart(&right, "one range, none live in it, 1,024 around it", "pages", &by_length, MiddleRight)
        })
        .and_then(|()| root.present())
        .map_err(|cause| format!("{path}: {cause}"))
}

/// Our curve and the reference's: a place for each piece of work, all of as many operations a lap.
fn pair(
    name: &'static str,
    color: RGBColor,
    rounds: u32,
    each_lap: usize,
    places: &[(f64, Work)],
) -> [Curve; 2] {
    let contenders = places.iter().flat_map(|(_, work)| Contender::of(*work, each_lap as f64));
    let times = measure(contenders.collect(), rounds);
    [true, false].map(|ours| {
        let every_other = times.iter().skip(usize::from(!ours)).step_by(2);
        let points = places.iter().zip(every_other).map(|((place, _), times)| (*place, times.min)).collect();
        Curve { name, color, ours, points }
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn chart(
    area: &Area<'_>,
    caption: &str,
    across: &str,
    curves: &[Curve],
    labels: SeriesLabelPosition,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>> {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let span = |of: fn((f64, f64)) -> f64| {
        let least = points().map(of).fold(f64::INFINITY, f64::min);
        let most = points().map(of).fold(0.0, f64::max);
        (least.max(0.1) * 0.8)..(most * 1.3)
    };
    let mut chart = ChartBuilder::on(area)
        .caption(format!("ns, {caption}"), ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(span(|point| point.0).log_scale(), span(|point| point.1).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(across)
        .y_desc("ns")
        .max_light_lines(1)
        .x_label_formatter(&|place| format!("{place:.0}"))
        .y_label_formatter(&|time| format!("{time}"))
        .draw()?;
    for curve in curves {
        let style = curve.color.mix(if curve.ours { 1.0 } else { 0.45 }).stroke_width(2);
        let whose = if curve.ours { "model" } else { "reference" };
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), style))?
            .label(format!("{}, {whose}", curve.name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        let marks = curve.points.iter().map(|point| match curve.ours {
            true => Circle::new(*point, 3, style.filled()),
            false => Circle::new(*point, 3, style),
        });
        chart.draw_series(marks)?;
    }
    chart
        .configure_series_labels()
        .position(labels)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
