//! Held against published and independently computed figures.

use SprtModel::{Logistic, Normalized};

use super::estimate::{elo_of_nelo, los_of_decisive_games};
use super::likelihood::llr;
use super::sprt::InvalidTest;
use super::*;
use crate::run::{Score, Sprt, SprtModel};

fn close(name: &str, got: Option<f64>, want: f64, abs: f64) {
    let got = got.unwrap_or_else(|| panic!("{name}: no number, expected {want}"));
    let bound = abs.max(1e-5 * want.abs());
    assert!((got - want).abs() <= bound, "{name}: got {got}, expected {want}");
}

fn test(model: SprtModel, elo0: i32, elo1: i32) -> Test {
    Test::try_from(&Sprt {
        model,
        elo0_milli: elo0 * 1_000,
        elo1_milli: elo1 * 1_000,
        alpha_ppm: 50_000,
        beta_ppm: 50_000,
    })
    .unwrap()
}

fn check_estimate<const K: usize>(name: &str, counts: [u32; K], want: [f64; 6]) {
    let got = estimate(&counts.into()).unwrap();
    let fields = [Some(got.score), got.elo, got.elo_error, got.nelo, got.nelo_error, got.los];
    let names = ["score", "elo", "elo_error", "nelo", "nelo_error", "los"];
    for ((field, got), want) in names.into_iter().zip(fields).zip(want) {
        close(&format!("{name} {field}"), got, want, 1e-4);
    }
}

#[test]
fn estimates_agree_with_fastchess_and_van_den_bergh() {
    // fastchess, app/tests/elo_test.cpp.
    check_estimate(
        "t1",
        [89, 123, 76],
        [0.477431, -15.693521, 30.458001, -20.75645, 40.126026, 0.155326],
    );
    check_estimate(
        "t2",
        [96, 111, 136],
        [0.558309, 40.702458, 30.427218, 49.768415, 36.768451, 0.99601],
    );
    check_estimate(
        "p1",
        [34, 54, 63, 64, 75],
        [0.57931, 55.57978, 27.65343, 57.9356, 28.275376, 0.99997],
    );
    // Van den Bergh, comparing_approximations.pdf, example 1.6.
    check_estimate(
        "p4",
        [729, 5_234, 10_174, 5_154, 898],
        [0.502907, 2.019906, 1.99447, 3.273835, 3.2325, 0.976429],
    );
}

#[test]
fn a_record_without_spread_has_no_error_bars_and_a_perfect_one_no_elo() {
    assert_eq!(estimate(&Pentanomial::default()), None);
    let perfect = estimate(&Pentanomial::from([0, 0, 0, 0, 12])).unwrap();
    assert_eq!(perfect.score, 1.0);
    let rest = [perfect.elo, perfect.elo_error, perfect.nelo, perfect.nelo_error, perfect.los];
    assert_eq!(rest, [None; 5]);
    let level = estimate(&Pentanomial::from([0, 0, 7, 0, 0])).unwrap();
    assert_eq!((level.elo, level.elo_error, level.los), (Some(0.0), None, None));
    // One point short of perfect: there is an Elo, but its interval has no upper end.
    let nearly = estimate(&Pentanomial::from([0, 0, 0, 1, 2])).unwrap();
    assert!(nearly.elo.is_some() && nearly.los.is_some());
    assert_eq!(nearly.elo_error, None);
}

struct Ratio<const K: usize> {
    name: &'static str,
    model: SprtModel,
    counts: [u32; K],
    elo: [f64; 2],
    want: f64,
    closed: f64,
}

fn check_ratio<const K: usize>(case: &Ratio<K>) {
    let got = llr(case.model, case.elo[0], case.elo[1], &case.counts.into()).unwrap();
    assert_eq!(got.method, Method::Exact, "{}", case.name);
    close(case.name, Some(got.value), case.want, 2e-4);
    // The closed form is not what is used here, but it must be the right one when it is.
    let closed = super::likelihood::closed_form_of(case.model, case.elo, &case.counts.into());
    close(&format!("{} closed", case.name), Some(closed), case.closed, 2e-4);
}

#[test]
fn ratios_of_games_agree_with_fastchess_and_fishtest() {
    let cases = [
        Ratio {
            name: "n3a",
            model: Normalized,
            counts: [36_027, 68_692, 36_433],
            elo: [0.0, 2.0],
            want: 0.923293,
            closed: 0.923291,
        },
        // Nothing but wins: the closed form is wrong by a factor of 900.
        Ratio {
            name: "n3c",
            model: Normalized,
            counts: [0, 0, 4_250],
            elo: [0.0, 10.0],
            want: 120.548268,
            closed: 0.132682,
        },
        Ratio {
            name: "l3a",
            model: Logistic,
            counts: [21_184, 40_708, 21_404],
            elo: [0.5, 2.5],
            want: -1.571889,
            closed: -1.571825,
        },
    ];
    cases.iter().for_each(check_ratio);
}

#[test]
fn ratios_of_pairs_agree_with_the_published_ones() {
    let case = |name, model, counts, elo, want, closed| Ratio::<5> {
        name,
        model,
        counts,
        elo,
        want,
        closed,
    };
    let cases = [
        // fastchess, app/tests/sprt_test.cpp; six digits by fishtest, LLRcalc.py.
        case("n5a", Normalized, [365, 16618, 36229, 16974, 390], [0.0, 2.0], 2.250368, 2.250395),
        case("l5a", Logistic, [223, 9863, 21279, 10037, 246], [0.5, 2.5], -3.074126, -3.073995),
        // OpenBench, stats.py, its own example.
        case("n5d", Normalized, [39, 8843, 26675, 9240, 44], [0.5, 2.5], 2.941675, 2.941877),
        // Van den Bergh, comparing_approximations.pdf, example 1.6.
        case("v1", Logistic, [729, 5234, 10174, 5154, 898], [-0.5, 1.5], 2.936964, 2.93533),
        case("v3", Logistic, [1746, 11875, 23034, 11679, 1820], [-0.5, 1.5], -2.936411, -2.936728),
        case("v5", Logistic, [504, 6686, 20525, 6609, 557], [0.25, 1.75], -2.949029, -2.949765),
        // fishtest, stat_util.py, its own example.
        case("f1", Logistic, [10789, 19328, 33806, 19402, 10543], [-3.0, 1.0], 2.131068, 2.131028),
    ];
    cases.iter().for_each(check_ratio);
}

#[test]
fn a_hypothesis_without_a_fit_falls_back_to_the_closed_form_and_says_so() {
    // This record makes fastchess loop (issue 877) and fishtest raise.
    let record = Pentanomial::from([20, 0, 0, 0, 0]);
    let got = llr(Normalized, -1_500.0, -500.0, &record).unwrap();
    assert_eq!(got.method, Method::ClosedForm);
    close("infeasible", Some(got.value), -3.422726, 2e-4);
    let got = llr(Logistic, -1_500.0, -500.0, &record).unwrap();
    assert_eq!(got.method, Method::Exact);
    close("logistic", Some(got.value), -1.0838, 2e-4);
    assert_eq!(llr(Normalized, 0.0, 5.0, &Pentanomial::default()), None);
}

#[test]
fn ratios_are_finite_for_every_small_record_and_far_bounds() {
    let mut seen = 0_u32;
    for code in 0..4_u32.pow(5) {
        let counts: [u32; 5] =
            std::array::from_fn(|i| [0, 1, 7, 100_000][(code >> (2 * i)) as usize & 3]);
        for (elo0, elo1) in [(0.0, 30.0), (-1_000.0, 1_000.0), (900.0, 1_000.0), (-1e9, 1e9)] {
            for model in [Normalized, Logistic] {
                let got = llr(model, elo0, elo1, &counts.into());
                assert!(got.is_none_or(|llr| llr.value.is_finite()), "{counts:?} {elo0} {elo1}");
                seen += u32::from(got.is_some());
            }
        }
        let got = estimate(&Pentanomial::from(counts));
        let fields = got.map(|e| [Some(e.score), e.elo, e.elo_error, e.nelo, e.nelo_error, e.los]);
        assert!(fields.into_iter().flatten().flatten().all(f64::is_finite), "{counts:?}");
    }
    assert!(seen > 7_000, "only {seen} records had a ratio");
}

#[test]
fn a_ratio_mirrors_when_the_sides_do() {
    let counts = [3, 40, 91, 52, 8];
    let mut mirrored = counts;
    mirrored.reverse();
    for model in [Normalized, Logistic] {
        let ours = llr(model, -4.0, 11.0, &Pentanomial::from(counts)).unwrap();
        let theirs = llr(model, -11.0, 4.0, &Pentanomial::from(mirrored)).unwrap();
        assert!((ours.value + theirs.value).abs() < 1e-9, "{ours:?} {theirs:?}");
    }
}

#[test]
fn bounds_are_walds_and_a_decision_needs_more_than_the_bound() {
    let bounds = Bounds::wald(0.05, 0.05).unwrap();
    close("lower", Some(bounds.lower), -2.944439, 1e-5);
    close("upper", Some(bounds.upper), 2.944439, 1e-5);
    let bounds = Bounds::wald(0.05, 0.10).unwrap();
    close("lower", Some(bounds.lower), -2.251292, 1e-5);
    close("upper", Some(bounds.upper), 2.890372, 1e-5);
    for (alpha, beta) in [(0.0, 0.1), (0.1, 0.0), (0.5, 0.5), (f64::NAN, 0.1)] {
        assert_eq!(Bounds::wald(alpha, beta), None);
    }
    let test = test(Normalized, 0, 30);
    assert_eq!(test.status(&Pentanomial::default()), Status::Continue);
    assert_eq!(test.status(&Pentanomial::from([5, 5, 5, 5, 5])), Status::Continue);
    assert_eq!(test.status(&Pentanomial::from([0, 10, 100, 60, 10])), Status::AcceptH1);
    assert_eq!(test.status(&Pentanomial::from([10, 60, 100, 10, 0])), Status::AcceptH0);
}

#[test]
fn a_test_that_could_not_decide_is_refused() {
    let good = Sprt {
        model: Normalized,
        elo0_milli: 0,
        elo1_milli: 30_000,
        alpha_ppm: 50_000,
        beta_ppm: 50_000,
    };
    assert!(Test::try_from(&good).is_ok());
    let bad = [
        Sprt { elo1_milli: 0, ..good },
        Sprt { alpha_ppm: 0, ..good },
        Sprt { beta_ppm: 950_000, ..good },
    ];
    assert!(bad.iter().all(|spec| Test::try_from(spec) == Err(InvalidTest)));
}

#[test]
fn expected_lengths_follow_walds_identities() {
    let half_way = test(Normalized, 0, 5).expectation(2.5).unwrap();
    close("pass", Some(half_way.pass), 0.5, 1e-9);
    close("pairs", Some(half_way.pairs), 20_930.7, 2.1);
    let at_bound = test(Normalized, 0, 20).expectation(20.0).unwrap();
    close("pass", Some(at_bound.pass), 0.95, 1e-9);
    close("pairs", Some(at_bound.pairs), 799.7, 0.08);
    assert_eq!(test(Logistic, 0, 5).expectation(0.0), None);
    // No sign and no size of the drift overflows, and nothing jumps where the formulas meet.
    for nelo in [-1e6, -30.0, -1e-3, 2.5 - 1e-6, 2.5 + 1e-6, 2.6, 1e6] {
        let expected = test(Normalized, 0, 5).expectation(nelo).unwrap();
        assert!((0.0..=1.0).contains(&expected.pass), "{nelo}: {expected:?}");
        assert!(expected.pairs > 0.0 && expected.pairs < 20_931.0, "{nelo}: {expected:?}");
    }
}

#[test]
fn small_conversions_agree_with_their_sources() {
    // vdbergh/simul, the table in its README.
    close("nelo at 0.3", elo_of_nelo(5.0, 0.3), 4.18, 0.01);
    close("nelo at 0.5", elo_of_nelo(5.0, 0.5), 3.54, 0.01);
    assert_eq!(elo_of_nelo(5.0, 1.5), None);
    // cutechess, elo.cpp.
    close("los", los_of_decisive_games(136, 96), 0.995682, 1e-6);
    assert_eq!(los_of_decisive_games(0, 0), None);
}

#[test]
fn pairs_are_counted_by_their_half_points() {
    let mut counts = Pentanomial::default();
    let scores = [Score::Loss, Score::Draw, Score::Win];
    for first in scores {
        for second in scores {
            counts.add([first, second]);
        }
    }
    assert_eq!(<[u32; 5]>::from(counts), [1, 2, 3, 2, 1]);
}

/// How often a true difference of zero passes a test against nElo [0, 30], and after how many
/// pairs, on the law of pair results that vdbergh/pentanomial measured in self-play.
#[test]
fn a_null_candidate_passes_as_rarely_as_the_test_promises() {
    const RUNS: u32 = 1_500;
    let test = test(Normalized, 0, 30);
    let mut chance = crate::plan::chance::Chance::new(20_261_120);
    let (mut passed, mut pairs) = (0, 0_u64);
    for _ in 0..RUNS {
        let mut counts = Pentanomial::default();
        let status = loop {
            counts.add(chance.pair());
            match test.status(&counts) {
                Status::Continue => {}
                status @ (Status::AcceptH1 | Status::AcceptH0) => break status,
            }
        };
        passed += u32::from(status == Status::AcceptH1);
        pairs += counts.total();
    }
    let share = f64::from(passed) / f64::from(RUNS);
    let mean = pairs as f64 / f64::from(RUNS);
    assert!((0.030..=0.065).contains(&share), "{share} of the null candidates passed");
    assert!((340.0..=395.0).contains(&mean), "{mean} pairs on average");
}
