//! Budgets of the process against what one client may take of them.

use super::Serve;
use crate::config::fault::Fault;
use crate::config::measure::show_bytes;

impl Serve {
    /// Whether a shard's share of each budget holds what a single client may have; if not, the
    /// budget would end it, and it would never reach its own bound.
    pub fn check_shares(&self, shard_count: u32) -> Result<(), Fault> {
        let unsent = ("client.queue_max_size", self.client.queue_max_size.0);
        let partial = ("websocket.message_size_limit", self.websocket.message_size_limit.0);
        share_holds(("max_unsent", self.host.max_unsent.0), unsent, shard_count)?;
        share_holds(("max_partial", self.host.max_partial.0), partial, shard_count)
    }
}

type Size = (&'static str, usize);

fn share_holds(budget: Size, one: Size, shard_count: u32) -> Result<(), Fault> {
    let (all, of_one) = (budget.1 as u64, one.1 as u64);
    let needed = of_one.saturating_mul(shard_count.into());
    if all >= needed {
        return Ok(());
    }
    let [all, of_one, needed] = [all, of_one, needed].map(show_bytes);
    Err(Fault::Contradiction {
        says: format!(
            "{} is {of_one}, and {} is {all} for {shard_count} shards together",
            one.0, budget.0
        ),
        mend: format!("set {} to {needed} or more, or {} to less", budget.0, one.0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::with_flag;

    #[test]
    fn a_share_holds_what_one_client_may_have_to_the_byte() {
        for (budget, one) in [
            ("max_unsent", "client.queue_max_size"),
            ("max_partial", "websocket.message_size_limit"),
        ] {
            let serve = with_flag(budget, "1MiB");
            let bound = match one {
                "client.queue_max_size" => serve.client.queue_max_size.0,
                _ => serve.websocket.message_size_limit.0,
            };
            let fitting = u32::try_from((1 << 20) / bound).unwrap();
            assert!(serve.check_shares(fitting).is_ok(), "{budget}");
            let fault = serve.check_shares(fitting + 1).unwrap_err().to_string();
            assert!(fault.contains(budget) && fault.contains(one), "{fault}");
        }
    }
}
