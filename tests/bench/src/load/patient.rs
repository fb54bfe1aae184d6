//! Requests around a measurement, such as those that fill a queue. A machine that is busy may see a
//! leader change in between; that is no reason to lose the figures.

use std::time::Duration;

use crate::clock;
use crate::system::Failure;

/// How long a request is repeated.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before it is repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends a request until it succeeds.
///
/// # Errors
/// The last failure.
pub(crate) async fn until_done<T, F>(mut request: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let begun = clock::now();
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(failure) if clock::now() - begun > PATIENCE => return Err(failure),
            Err(_again) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn goes_on_after_a_failure() {
        let mut times = 0;
        let answer = until_done(|| {
            times += 1;
            let failed = times < 3;
            async move { if failed { Err(Failure::Setup("busy".to_owned())) } else { Ok(7) } }
        });
        assert_eq!(answer.await.unwrap(), 7);
        assert_eq!(times, 3);
    }
}
