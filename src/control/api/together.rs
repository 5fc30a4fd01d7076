//! Several commands at a time, begun in their order.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Begins all, each after the one before it, and ends when all have. What they ask of the shards
/// leaves in their order, and none waits for the answer of another.
pub(super) async fn together<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<UnderWay<F>> = futures.map(|one| UnderWay::Goes(Box::pin(one))).collect();
    poll_fn(|context| {
        for one in &mut all {
            if let UnderWay::Goes(future) = one
                && let Poll::Ready(done) = future.as_mut().poll(context)
            {
                *one = UnderWay::Done(done);
            }
        }
        Poll::Ready(())
    })
    .await;
    let mut done = Vec::with_capacity(all.len());
    for one in all {
        done.push(match one {
            UnderWay::Done(done) => done,
            UnderWay::Goes(future) => future.await,
        });
    }
    done
}

enum UnderWay<F: Future> {
    Goes(Pin<Box<F>>),
    Done(F::Output),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn all_begin_in_order_before_any_ends_and_end_in_any() {
        let (began, gate) = (RefCell::new(Vec::new()), Notify::new());
        let one = |number: usize| {
            let (began, gate) = (&began, &gate);
            async move {
                began.borrow_mut().push(number);
                if number == 3 {
                    gate.notify_waiters();
                } else if number > 0 {
                    gate.notified().await;
                }
                number
            }
        };
        assert_eq!(together((0..4).map(one)).await, [0, 1, 2, 3]);
        assert_eq!(*began.borrow(), [0, 1, 2, 3]);
    }
}
