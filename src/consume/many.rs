//! Many messages at a time: gathered while others are in work, and handled in tasks beside each other.

use std::sync::Arc;

use futures_util::future::FutureExt as _;
use tokio::task::{JoinError, JoinSet};

use crate::broker::{Acker, Consumer};
use crate::consume::gather::Gathered;
use crate::consume::handler::{Counted, Deliveries, Handler, Panicked, acknowledge, give_back, run};
use crate::consume::health::Health;
use crate::consume::outage::Outage;
use crate::consume::takes::Takes;
use crate::shutdown::Stop;

/// Takes messages and handles several at a time, as many as the settings allow.
pub(super) async fn many<H: Handler>(
    mut consumer: Consumer,
    takes: Takes,
    handler: &Counted<H>,
    stop: &Stop,
    health: &mut Health,
) -> Result<(), Outage> {
    let mut gathered = Gathered::default();
    let mut tasks = JoinSet::new();
    let mut result = Ok(());
    loop {
        if tasks.len() < takes.concurrency && gathered.is_time(tasks.is_empty(), takes.together) {
            start(&mut tasks, consumer.acker(), handler, gathered.take());
        }
        let waiting = !gathered.is_empty() && tasks.len() < takes.concurrency;
        tokio::select! {
            () = stop.wait() => break,
            taken = consumer.next(), if !gathered.is_full(takes.together) => {
                let mut taken = Some(taken);
                // Everything that is there already is taken along, without waiting for more.
                while let Some(Ok(delivery)) = taken {
                    gathered.add(delivery);
                    let more = !gathered.is_full(takes.together);
                    taken = if more { consumer.next().now_or_never() } else { None };
                }
                if let Some(Err(error)) = taken {
                    result = Err(error.into());
                    break;
                }
            }
            () = tokio::time::sleep_until(gathered.until), if waiting => {}
            Some(done) = tasks.join_next() => match finished(done) {
                Ok(()) => health.handled(takes.queue),
                Err(outage) => {
                    health.handler_failed();
                    result = Err(outage);
                    break;
                }
            },
        }
    }
    // Work in hand is finished, and its messages are acknowledged while the consumer is still there.
    while let Some(done) = tasks.join_next().await {
        result = result.and(finished(done));
    }
    result
}

fn start<H: Handler>(
    tasks: &mut JoinSet<Result<(), Outage>>,
    acker: Acker,
    handler: &Counted<H>,
    taken: Deliveries,
) {
    let handler = handler.clone();
    tasks.spawn(async move {
        match run(&handler, Arc::clone(&taken)).await {
            Ok(handled) => handled?,
            // One of the messages caused it, and nobody knows which: only that one is to go back to the queue.
            Err(Panicked) if taken.len() > 1 => {
                for delivery in taken.iter() {
                    let alone: Deliveries = [delivery.clone()].into();
                    match run(&handler, Arc::clone(&alone)).await {
                        Ok(handled) => {
                            handled?;
                            acknowledge(&handler, &acker, &alone).await?;
                        }
                        Err(Panicked) => give_back(&acker, delivery).await?,
                    }
                }
                return Ok(());
            }
            Err(Panicked) => return give_back(&acker, &taken[0]).await,
        }
        acknowledge(&handler, &acker, &taken).await
    });
}

fn finished(done: Result<Result<(), Outage>, JoinError>) -> Result<(), Outage> {
    done.unwrap_or_else(|error| Err(error.into()))
}
