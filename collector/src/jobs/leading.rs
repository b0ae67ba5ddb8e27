//! Which collector runs the jobs. Invariant: it leads only while its lease, by its own clock, holds for a while yet, and
//! has folded all that an earlier leader wrote before it begins; what it writes carries the lease's fence.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::books::Books;
use crate::journal::{Held, LEASE_SECONDS, Lease};

/// How often the lease is asked for.
const ASK_EVERY: Duration = Duration::from_secs(4);

/// For how long it is trusted from the asking on: a job that ends its step in what is left is still the only one.
const TRUSTED: Duration = Duration::from_secs(LEASE_SECONDS as u64 - 5);

/// The fence of this collector while it leads.
pub type Term = Option<i64>;

/// Asks for the lease until it is stopped; gives it back then.
pub async fn follow(
    mut lease: Lease,
    books: Books,
    term: watch::Sender<Term>,
    stopped: impl Future<Output = ()>,
) {
    let mut trusted_until = None;
    tokio::pin!(stopped);
    loop {
        let asked = Instant::now();
        let until = trusted_until.unwrap_or(asked + ASK_EVERY).min(asked + ASK_EVERY);
        let held = tokio::select! {
            () = &mut stopped => break,
            held = timeout_at(until, led(&mut lease, &books, *term.borrow())) => held,
        };
        match held {
            Ok(Ok(held)) => {
                trusted_until = held.map(|_| asked + TRUSTED);
                announce(&term, held.map(|held| held.fence));
            }
            Ok(Err(error)) => tracing::debug!(%error, "the jobs' lease is not known"),
            Err(_) => tracing::debug!("the jobs' lease is not known in time"),
        }
        if trusted_until.is_some_and(|until| until <= Instant::now()) {
            trusted_until = None;
            announce(&term, None);
        }
        let next = trusted_until.unwrap_or(asked + ASK_EVERY).min(asked + ASK_EVERY);
        tokio::select! {
            () = &mut stopped => break,
            () = sleep_until(next) => {}
        }
    }
    announce(&term, None);
    if let Err(error) = lease.give_back().await {
        tracing::debug!(%error, "the jobs' lease is not given back");
    }
}

/// Takes or keeps the lease; a new one counts once all that came before it is folded here.
async fn led(lease: &mut Lease, books: &Books, term: Term) -> Result<Option<Held>, String> {
    let held = lease.ask().await.map_err(|error| error.to_string())?;
    if let Some(held) = held.filter(|held| Some(held.fence) != term) {
        books.reached(held.size.0).await.map_err(|error| error.to_string())?;
    }
    Ok(held)
}

fn announce(term: &watch::Sender<Term>, now: Term) {
    let changed = term.send_if_modified(|term| std::mem::replace(term, now) != now);
    match now {
        Some(fence) if changed => tracing::info!(fence, "this collector runs the jobs"),
        None if changed => tracing::info!("another collector may run the jobs"),
        _ => {}
    }
}

/// Runs a job while this collector leads, each time from its beginning, until the job ends by itself: it is told to.
/// While another leads, it ends with `stopped`.
pub async fn while_leading<J: Future>(
    mut term: watch::Receiver<Term>,
    stopped: impl Future<Output = ()>,
    mut job: impl FnMut() -> J,
) -> Option<J::Output> {
    tokio::pin!(stopped);
    loop {
        let fence = tokio::select! {
            () = &mut stopped => return None,
            led = term.wait_for(Option::is_some) => *led.ok()?,
        };
        let mut watched = term.clone();
        let lost = async {
            if watched.wait_for(|now| *now != fence).await.is_err() {
                // Nobody else asks: it stays as it is.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = lost => {}
            done = job() => return Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_begins_anew_with_each_term_and_ends_when_it_is_told() {
        let (term, leads) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let ended =
            |mut stopped: watch::Receiver<bool>| async move { drop(stopped.wait_for(|stop| *stop).await) };
        let (begun, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let job = {
            let (begun, dropped, stopped) = (Arc::clone(&begun), Arc::clone(&dropped), stopped.clone());
            move || {
                begun.fetch_add(1, Ordering::SeqCst);
                let (guard, stopped) = (Guard(Arc::clone(&dropped)), ended(stopped.clone()));
                async move {
                    let _guard = guard;
                    stopped.await;
                }
            }
        };
        let running = tokio::spawn(while_leading(leads, ended(stopped.clone()), job));
        let check = async |now: Term, expected: (u32, u32)| {
            term.send_replace(now);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!((begun.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst)), expected, "{now:?}");
        };
        check(None, (0, 0)).await;
        check(Some(1), (1, 0)).await;
        check(Some(1), (1, 0)).await;
        check(None, (1, 1)).await;
        check(Some(3), (2, 1)).await;
        // Another led in between, and was not noticed.
        check(Some(5), (3, 2)).await;
        stop.send_replace(true);
        assert_eq!(running.await.unwrap(), Some(()));
    }

    struct Guard(Arc<AtomicU32>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}
