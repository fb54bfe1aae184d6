//! The schema's own promises, without a server. `tests/tests/api.rs` has a real one install it.

use serde_json::{Value, json};

use super::*;

/// etcd and the release Secret of Helm hold about 1 MiB; a definition must stay far below.
const YAML_BYTES_MAX: usize = 256 * 1024;

#[test]
fn a_definition_reads_back_what_it_writes_and_is_small() {
    for definition in all() {
        let text = yaml(&definition).expect("YAML");
        assert!(text.len() < YAML_BYTES_MAX, "{} bytes", text.len());
        let back: CustomResourceDefinition = serde_saphyr::from_str(&text).expect("reads back");
        assert_eq!(back, definition);
    }
}

/// Walks a schema and calls `visit` for each node with its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            walk(&format!("{path}.{name}"), property, visit);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&format!("{path}[]"), &schema[inner], visit);
        }
    }
}

#[test]
fn every_list_map_string_and_number_of_a_spec_has_its_bound() {
    for definition in all() {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).expect("JSON");
        let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
        assert!(spec["properties"].is_object(), "the spec has a schema");
        walk("spec", spec, &mut |path, node| {
            let has = |key: &str| !node[key].is_null();
            match node["type"].as_str() {
                Some("string") => assert!(has("maxLength") || has("enum"), "{path} has no bound"),
                Some("array") => {
                    assert!(has("maxItems"), "{path} has no bound");
                    assert!(has("x-kubernetes-list-type"), "{path} has no list type");
                }
                Some("integer") => {
                    assert!(has("minimum"), "{path} has no bound below");
                    let format = node["format"].as_str();
                    assert!(matches!(format, Some("int32" | "int64")), "{path}: {format:?}");
                }
                Some("number") => panic!("{path} is a float"),
                Some("object") => assert!(
                    has("properties") || has("maxProperties"),
                    "{path} has neither fields nor a bound"
                ),
                other => panic!("{path} has no type: {other:?}"),
            }
        });
    }
}

#[test]
fn what_is_not_given_has_its_default() {
    let engine = json!({ "name": "a", "command": ["own"], "nodes": 100 });
    let gauntlet: GauntletSpec =
        serde_json::from_value(json!({ "candidate": engine, "baselines": [engine] }))
            .expect("a gauntlet");
    assert_eq!(gauntlet.play, contest::Play::default());
    assert_eq!(gauntlet.stop, gauntlet::Stop::default());
    let job: JobSpec = serde_json::from_value(json!({ "command": ["/bin/true"] })).expect("a job");
    assert_eq!((job.completions, job.parallelism, job.max_attempts), (1, 16, 3));
    assert_eq!((gauntlet.queue.as_str(), job.queue.as_str()), ("default", "default"));
    assert_eq!((gauntlet.resources, job.resources), Default::default());
    let part = json!({ "command": ["/bin/true"], "resources": { "gpuMilli": 250 } });
    let job: JobSpec = serde_json::from_value(part).expect("a job");
    assert_eq!(job.resources, resources::Resources { gpu_milli: 250, ..Default::default() });
}

#[test]
fn a_device_is_asked_for_in_part_or_whole() {
    let job = |gpu_milli: i32| {
        let spec = json!({ "command": ["/bin/true"], "resources": { "gpuMilli": gpu_milli } });
        Job::new("j", serde_json::from_value(spec).expect("a job"))
    };
    for sound in [0, 1, 999, 1_000, 64_000] {
        kube::core::cel::validate_cel(&job(sound)).expect("the rules hold");
    }
    for odd in [1_001, 1_500, 63_999] {
        let refused = kube::core::cel::validate_cel(&job(odd)).expect_err("no node has that");
        assert!(format!("{refused:?}").contains("gpuMilli must be"), "{refused:?}");
    }
}

#[test]
fn kubectl_shows_progress_verdict_and_reason() {
    let columns = |definition: &CustomResourceDefinition| -> Vec<String> {
        let columns = definition.spec.versions[0].additional_printer_columns.iter().flatten();
        columns.filter(|c| c.priority.unwrap_or(0) == 0).map(|c| c.name.clone()).collect()
    };
    let [gauntlet, job, tournament] = &all()[..] else { panic!("three kinds") };
    assert_eq!(columns(gauntlet), ["Progress", "Verdict", "Elo", "Reason", "Age"]);
    assert_eq!(columns(job), ["Progress", "Running", "Failed", "Reason", "Age"]);
    assert_eq!(columns(tournament), ["Progress", "Leader", "Points", "Elo", "Reason", "Age"]);
}

#[test]
fn a_reason_is_a_word_of_its_own() {
    let mut words: Vec<&str> =
        condition::Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), condition::Reason::ALL.len());
    for word in words {
        assert!(word.chars().all(|c| c.is_ascii_alphabetic()), "{word}");
    }
}
