//! A run's figures as a table: what a person wants to read at the end.

use ringrift_wire::run::{MatchupStatus, RunStatus};

use crate::output;

/// Prints the crosstable, and the verdict or the standings.
pub(crate) fn show(status: &RunStatus) {
    let mut table = output::table(&[
        "match-up",
        "pairs",
        "won",
        "drawn",
        "lost",
        "score",
        "elo ± 95 %",
        "los",
        "ll ld level wd ww",
        "llr (bounds)",
        "decision",
    ]);
    for matchup in &status.matchups {
        table.add_row(row(matchup));
    }
    output::print_table(&table);
    if !status.standings.is_empty() {
        output::line("");
        let mut table =
            output::table(&["", "contestant", "points", "games", "won", "drawn", "lost"]);
        for (place, line) in status.standings.iter().enumerate() {
            table.add_row([
                (place + 1).to_string(),
                line.name.clone(),
                format!("{:.1}", line.points),
                line.games.to_string(),
                line.wins.to_string(),
                line.draws.to_string(),
                line.losses.to_string(),
            ]);
        }
        output::print_table(&table);
    }
    if let Some(verdict) = &status.verdict {
        let reason = status.message.strip_prefix(verdict.as_str()).unwrap_or(&status.message);
        output::line("");
        output::line(&format!("verdict: {}{reason}", verdict.to_uppercase()));
    }
}

/// `+35.2 ± 20.1`, or why there is no number.
pub(crate) fn elo(matchup: &MatchupStatus) -> String {
    match (matchup.elo, matchup.elo_error) {
        (Some(elo), Some(error)) => format!("{elo:+.1} ± {error:.1}"),
        (Some(elo), None) => format!("{elo:+.1}"),
        (None, _) if matchup.pairs_used == 0 => "-".to_owned(),
        (None, _) if matchup.score > 0.5 => "all won".to_owned(),
        (None, _) => "all lost".to_owned(),
    }
}

fn row(matchup: &MatchupStatus) -> [String; 11] {
    let llr = match (matchup.llr, matchup.llr_bounds) {
        (Some(llr), Some([low, high])) => format!("{llr:.2} ({low:.2}, {high:.2})"),
        (Some(_), None) | (None, _) => "-".to_owned(),
    };
    [
        format!("{} v {}", matchup.contestants[0], matchup.contestants[1]),
        matchup.pairs_used.to_string(),
        matchup.wins.to_string(),
        matchup.draws.to_string(),
        matchup.losses.to_string(),
        format!("{:.1} %", matchup.score * 100.0),
        elo(matchup),
        matchup.los.map_or_else(|| "-".to_owned(), |los| format!("{:.1} %", los * 100.0)),
        matchup.pentanomial.map(|count| count.to_string()).join(" "),
        llr,
        matchup.decision.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
