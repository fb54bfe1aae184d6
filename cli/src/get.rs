//! `ringrift get`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::run::RunStatus;
use ringrift_wire::work::{ArrayProgress, Resources, WorkItem};

use crate::gauntlet::crosstable;
use crate::output::{self, Failure};

/// Whether an id is a work item's and not a run's.
pub(crate) fn is_work_id(id: &str) -> bool {
    id.strip_prefix('w').is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(crate) async fn run(client: &Client, id: &str, json: bool) -> Result<ExitCode, Failure> {
    if is_work_id(id) {
        let item: WorkItem = client.get(&format!("/work/{id}")).await?;
        if json {
            output::json(&item)?;
        } else {
            show_item(&item);
            if let Some(array) = &item.array_id {
                let progress = client.get(&format!("/work/arrays/{array}")).await?;
                show_array(&progress);
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let status = client.run(id).await?;
    if json {
        output::json(&status)?;
    } else {
        show_run(&status);
    }
    Ok(ExitCode::SUCCESS)
}

fn show_item(item: &WorkItem) {
    let mut lines = vec![
        format!("work item  {}", item.work_id),
        format!("type       {}", item.work_type),
        format!("status     {}", item.status),
        format!("priority   {}", item.priority),
        format!("attempts   {} of {}", item.attempts, item.max_attempts),
    ];
    let optional = [
        ("queue", Some(item.queue.clone()).filter(|queue| !queue.is_empty())),
        ("array", item.array_id.clone()),
        ("index", item.array_index.map(|index| index.to_string())),
        ("run", item.run_id.clone()),
        ("cause", item.cause.clone()),
        ("node", item.claimed_by.clone()),
        ("error", item.error.clone()),
        ("result", item.result.as_ref().map(ToString::to_string)),
    ];
    for (title, value) in optional {
        lines.extend(value.map(|value| format!("{title:<10} {value}")));
    }
    lines.push(format!("config     {}", item.config));
    for text in lines {
        output::line(&text);
    }
}

fn show_array(progress: &ArrayProgress) {
    let ArrayProgress { count, unclaimed, outstanding, completed, failed, cancelled, .. } =
        progress;
    output::line(&format!(
        "of array   {completed} of {count} completed, {failed} failed, {cancelled} cancelled, \
         {outstanding} on their way, {unclaimed} unclaimed"
    ));
}

/// What each item of a run reserves; what it does not ask for is left out.
fn needs(resources: Resources) -> String {
    let Resources { cpu, memory_mib, gpus, disk_free_mib } = resources;
    let parts = [
        (cpu > 0.0).then(|| format!("cpu {cpu}")),
        (memory_mib > 0).then(|| format!("memory {memory_mib} MiB")),
        (gpus > 0.0).then(|| format!("gpus {gpus}")),
        (disk_free_mib > 0).then(|| format!("free disk {disk_free_mib} MiB")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn show_run(status: &RunStatus) {
    output::line(&format!("run      {} ({})", status.run_id, status.kind));
    output::line(&format!("queue    {}", status.queue));
    if status.resources != Resources::default() {
        output::line(&format!("needs    {}", needs(status.resources)));
    }
    output::line(&format!("phase    {}", status.phase));
    output::line(&format!("done     {} of at most {}", status.done, status.total));
    output::line(&format!("message  {}", status.message));
    for failure in &status.failures {
        output::line(&format!(
            "failure  match-up {}, index {}: {}",
            failure.matchup, failure.index, failure.error
        ));
    }
    if !status.matchups.is_empty() {
        output::line("");
        crosstable::show(status);
    }
}

#[cfg(test)]
mod tests {
    use super::{Resources, is_work_id, needs};

    #[test]
    fn what_is_not_asked_for_is_not_shown() {
        let asked = Resources { gpus: 0.5, memory_mib: 64, ..Resources::default() };
        assert_eq!(needs(asked), "memory 64 MiB, gpus 0.5");
    }

    #[test]
    fn a_run_named_like_a_word_is_not_a_work_item() {
        assert!(is_work_id("w42"));
        assert!(!is_work_id("w") && !is_work_id("week-3") && !is_work_id("42"));
    }
}
