//! What a finished gauntlet must prove: every pair counted once, the verdict from enough valid pairs.

use std::collections::BTreeSet;

use ringrift_wire::run::{LedgerPage, LedgerPair, RunStatus};

/// The pairs that a verdict rests on, and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Pairs that the verdict rests on, all match-ups together.
    pub pairs_used: u64,
    /// Pairs in the ledger, those beyond a decision included.
    pub pairs_done: u64,
    /// A hash of the moves of every pair that the verdict rests on, in index order: two runs with
    /// the same digest played the same games.
    pub digest: u64,
    /// What is wrong; empty when the verdict stands.
    pub faults: Vec<String>,
}

/// Examines a finished gauntlet.
#[must_use]
pub fn examine(status: &RunStatus, ledger: &LedgerPage, pairs_min: u32) -> Evidence {
    let mut faults = Vec::new();
    if status.verdict.is_none() {
        faults.push(format!("no verdict: the run {} ({})", status.phase, status.message));
    }
    let mut keys = BTreeSet::new();
    let mut items = BTreeSet::new();
    for pair in &ledger.pairs {
        if !keys.insert((pair.matchup, pair.index)) {
            faults.push(format!("pair {} of match-up {} is there twice", pair.index, pair.matchup));
        }
        if !items.insert(&pair.work_id) {
            faults.push(format!("work item {} brought two pairs", pair.work_id));
        }
    }
    let mut used = Vec::new();
    for (number, matchup) in (0_u16..).zip(&status.matchups) {
        if matchup.pairs_used < pairs_min {
            faults.push(format!(
                "match-up {number} was decided from {} pairs, not {pairs_min}",
                matchup.pairs_used
            ));
        }
        for index in 0..matchup.pairs_used {
            if !keys.contains(&(number, index)) {
                faults.push(format!("pair {index} of match-up {number} is missing"));
            }
        }
        let counted: u32 = matchup.pentanomial.iter().sum();
        if counted != matchup.pairs_used {
            faults.push(format!(
                "match-up {number} counts {counted} pairs but rests on {}",
                matchup.pairs_used
            ));
        }
        let rests_on =
            |pair: &&LedgerPair| pair.matchup == number && pair.index < matchup.pairs_used;
        used.extend(ledger.pairs.iter().filter(rests_on));
    }
    used.sort_by_key(|pair| (pair.matchup, pair.index));
    Evidence {
        pairs_used: used.len() as u64,
        pairs_done: ledger.pairs.len() as u64,
        digest: digest(&used),
        faults,
    }
}

/// FNV-1a over the used pairs' keys and moves.
fn digest(pairs: &[&LedgerPair]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for pair in pairs {
        let text = format!("{}/{}/{}", pair.matchup, pair.index, pair.moves_hashes.join("/"));
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use ringrift_wire::run::MatchupStatus;
    use ringrift_wire::work::Resources;

    use super::*;

    fn pair(index: u32, work_id: &str) -> LedgerPair {
        LedgerPair {
            matchup: 0,
            index,
            work_id: work_id.to_owned(),
            node: "a".to_owned(),
            scores: [1.0, 0.5],
            moves_hashes: [format!("{index:016x}"), "0".repeat(16)],
        }
    }

    fn finished(pairs_used: u32) -> RunStatus {
        let matchup = MatchupStatus {
            contestants: ["new".to_owned(), "old".to_owned()],
            pairs_done: pairs_used,
            pairs_used,
            pairs_max: 10,
            pentanomial: [0, 0, 0, pairs_used, 0],
            wins: pairs_used,
            draws: pairs_used,
            losses: 0,
            score: 0.75,
            elo: None,
            elo_error: None,
            los: None,
            llr: None,
            llr_bounds: None,
            decision: Some("accept_h1".to_owned()),
        };
        RunStatus {
            run_id: "demo".to_owned(),
            queue: "default".to_owned(),
            resources: Resources::default(),
            kind: "gauntlet".to_owned(),
            phase: "succeeded".to_owned(),
            version: 1,
            log_index: 1,
            submitted_at: 0.0,
            ended_at: Some(1.0),
            done: u64::from(pairs_used),
            total: 10,
            running: 0,
            failed: 0,
            message: String::new(),
            waits: Vec::new(),
            verdict: Some("promote".to_owned()),
            reason: None,
            matchups: vec![matchup],
            standings: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn ledger(pairs: Vec<LedgerPair>) -> LedgerPage {
        LedgerPage { run_id: "demo".to_owned(), pairs, next_offset: None }
    }

    #[test]
    fn a_sound_run_has_no_faults_and_its_digest_ignores_pairs_beyond_the_decision() {
        let sound = examine(&finished(2), &ledger(vec![pair(1, "w2"), pair(0, "w1")]), 2);
        assert_eq!(sound.faults, Vec::<String>::new());
        let longer = ledger(vec![pair(0, "w1"), pair(1, "w2"), pair(2, "w3")]);
        assert_eq!(examine(&finished(2), &longer, 2).digest, sound.digest);
        assert_eq!((sound.pairs_used, sound.pairs_done), (2, 2));
    }

    #[test]
    fn lost_doubled_and_too_few_pairs_are_each_a_fault() {
        let faults = |pairs, min| examine(&finished(2), &ledger(pairs), min).faults.join("; ");
        assert!(faults(vec![pair(0, "w1")], 2).contains("pair 1 of match-up 0 is missing"));
        let doubled = vec![pair(0, "w1"), pair(1, "w2"), pair(1, "w3")];
        assert!(faults(doubled, 2).contains("is there twice"));
        let shared = vec![pair(0, "w1"), pair(1, "w1")];
        assert!(faults(shared, 2).contains("brought two pairs"));
        assert!(faults(vec![pair(0, "w1"), pair(1, "w2")], 3).contains("not 3"));
    }
}
