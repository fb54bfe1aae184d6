//! `benchmarks.md` and its plots, written from the figures and from nothing else.

mod plots;
mod tables;

use std::path::Path;

use crate::report::Report;
use crate::system::Failure;

/// What each cycle waits for, and how it is measured: the part of the page without figures.
const METHOD: &str = include_str!("page/method.md");
/// Folder of the plots, beside the page.
const PLOTS: &str = "benchmarks";

/// Writes the page and its plots into `folder`.
///
/// # Errors
/// [`Failure::Setup`] when there are no figures, [`Failure::File`] when a file cannot be written.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<(), Failure> {
    if report.systems().iter().all(|(_, measured)| measured.is_none()) {
        return Err(Failure::Setup(
            "there are no figures to write about: run `make bench`".to_owned(),
        ));
    }
    let plots_dir = folder.join(PLOTS);
    std::fs::create_dir_all(&plots_dir)
        .map_err(Failure::file(format!("create {}", plots_dir.display())))?;
    let mut text = String::from(
        "# Benchmarks\n\nThis page and its plots are written by `make bench`. Do not edit them.\n",
    );
    text.push_str(&tables::origin(report));
    for section in tables::sections(report) {
        text.push_str(&format!("\n## {}\n\n{}\n", section.title, section.table));
        for plot in section.plots {
            let name = format!("{}.svg", plot.name);
            plots::draw(&plot, &plots_dir.join(&name))?;
            text.push_str(&format!("\n![{}]({PLOTS}/{name})\n", plot.title));
        }
    }
    text.push('\n');
    text.push_str(METHOD);
    let page = folder.join("benchmarks.md");
    std::fs::write(&page, text).map_err(Failure::file(format!("write {}", page.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::Failover;
    use crate::load::quantiles::Distribution;

    #[test]
    fn a_page_holds_what_was_measured_and_no_word_of_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(&Report::default(), dir.path()).is_err());
        let mut report = Report::default();
        let killed = |values: &[f64]| Failover {
            fresh: Distribution::of(values.to_vec()),
            ..Failover::default()
        };
        report.place("ours").failover_ms = Some(killed(&[80.0, 120.0, 95.0]));
        report.place("etcd").failover_ms = Some(killed(&[1_200.0]));
        write(&report, dir.path()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("benchmarks.md")).unwrap();
        assert!(page.contains("| RingRift | 3 | 95 | 120 | 120 |"), "{page}");
        assert!(page.contains("| etcd | 1 | 1,200 | 1,200 | 1,200 |"), "{page}");
        assert!(!page.contains("## Throughput"), "{page}");
        let plot = dir.path().join("benchmarks/failover.svg");
        assert!(std::fs::read_to_string(plot).unwrap().contains("RingRift"));
    }
}
