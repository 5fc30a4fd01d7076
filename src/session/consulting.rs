//! What only a back end can answer: questions to it, and what its verdicts come to (19).

use super::command::Refusal;
use super::deferred::Deferred;
use super::effects::{Effect, Effects};
use super::state::{Session, Terms};
use super::under_way::{Awaited, SlotId, Taken};
use crate::backend::{self, Call, Caller, Event, Question, RpcResult, Unanswered, Verdict};
use crate::protocol::{DisconnectCode, ErrorCode, Failure, Format, Reply, Rpc};

impl Session {
    /// Calls a procedure.
    pub(super) fn rpc(
        &mut self,
        id: u32,
        request: &Rpc<'_>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let proxy = terms.rules.hooks.rpc.of(&request.method)?;
        let event =
            Event::Rpc { method: (*request.method).to_owned(), data: request.data.bytes().into() };
        let question = self.call(proxy, event, terms);
        let slot = self.begin().await_answer(id, "", Awaited::Rpc);
        effects.push(Effect::Consult { slot, question: question.into() });
        Ok(())
    }

    /// A call of a back end about this client.
    fn call(&self, proxy: &str, event: Event, terms: &Terms) -> Question {
        let protocol = match self.format() {
            Format::Json => "json",
            Format::Protobuf => "protobuf",
        };
        Question::Call(Call {
            proxy: proxy.to_owned(),
            caller: Caller {
                client: self.client_id(terms).to_string(),
                user: self.user().to_owned(),
                transport: "websocket".to_owned(),
                protocol: protocol.to_owned(),
            },
            event,
        })
    }

    /// A question was answered, or there was no asking it. Returns what was deferred meanwhile, to
    /// be read now.
    pub fn consulted(
        &mut self,
        slot: SlotId,
        result: Result<Verdict, Unanswered>,
        effects: &mut Effects,
    ) -> Deferred {
        if self.is_closed() {
            return Deferred::default();
        }
        let taken = self.take(slot);
        if let Awaited::Token = taken.awaited {
            return self.token_checked(slot, &result, effects);
        }
        match result {
            Err(_) => self.answer(taken, &Reply::Error(ErrorCode::Internal.into()), effects),
            Ok(Verdict::Fault(fault)) => {
                let backend::Fault { code, message, temporary } = &fault;
                let failure = Failure { code: *code, message, is_temporary: *temporary };
                self.answer(taken, &Reply::Failure(failure), effects)
            }
            Ok(Verdict::Disconnect(end)) => {
                self.close_as(&end, effects);
                Deferred::default()
            }
            Ok(verdict) => self.go_on_with(taken, verdict, effects),
        }
    }

    fn go_on_with(&mut self, taken: Taken, verdict: Verdict, effects: &mut Effects) -> Deferred {
        match (&taken.awaited, verdict) {
            (Awaited::Rpc, Verdict::Rpc(RpcResult { data })) => {
                if self.cannot_be_said(&data) {
                    self.close(DisconnectCode::InappropriateProtocol, effects);
                    return Deferred::default();
                }
                self.answer(taken, &Reply::Rpc(&data), effects)
            }
            (awaited, verdict) => unreachable!("{awaited:?}: nobody asked for {verdict:?}"),
        }
    }

    /// Whether these bytes cannot stand in the client's format.
    fn cannot_be_said(&self, data: &[u8]) -> bool {
        let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
        self.format() == Format::Json && !data.is_empty() && !is_json()
    }

    fn close_as(&mut self, end: &backend::Disconnect, effects: &mut Effects) {
        let code = u16::try_from(end.code).expect("a close code, as it was read");
        // Some clients connect again whatever the code if there is no reason.
        let reason = if end.reason.is_empty() { "disconnected" } else { &end.reason };
        let reason = effects.text(reason.as_bytes());
        self.end();
        effects.push(Effect::CloseAs { code, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::hooks::{Hooks, RpcHooks};
    use super::super::rig::Rig;
    use super::*;

    fn rig(rpc: RpcHooks) -> Rig {
        let mut rig = Rig::open();
        rig.terms.rules = Rules { hooks: Hooks { rpc }, ..rig.terms.rules };
        rig
    }

    fn procedures() -> RpcHooks {
        let own = ("own".to_owned(), Some("second".to_owned()));
        RpcHooks {
            without_namespace: Some("first".to_owned()),
            namespaces: [own, ("none".to_owned(), None)].into(),
            ..RpcHooks::default()
        }
    }

    fn rpc(id: u32, method: &str) -> String {
        format!(r#"{{"id":{id},"rpc":{{"method":"{method}","data":{{"a": 1}}}}}}"#)
    }

    fn returns(data: &str) -> Verdict {
        Verdict::Rpc(RpcResult { data: data.as_bytes().to_vec() })
    }

    #[test]
    fn a_procedure_is_called_at_the_back_end_of_its_namespace() {
        let mut rig = rig(procedures());
        for (method, proxy) in [("sum", "first"), ("", "first"), ("own:sum", "second")] {
            rig.frame(&rpc(2, method));
            let Some((_, Question::Call(call))) = rig.consulted.pop() else {
                panic!("it is asked")
            };
            assert_eq!((&*call.proxy, &*call.caller.protocol), (proxy, "json"));
            let event = Event::Rpc { method: method.to_owned(), data: br#"{"a": 1}"#.to_vec() };
            assert_eq!(call.event, event);
        }
        for method in ["other:sum", "none:sum", ":sum"] {
            let mut rig = self::rig(procedures());
            rig.frame(&rpc(2, method));
            assert!(rig.lines()[0].contains("\"code\":104"), "{method}");
        }
    }

    #[test]
    fn without_any_procedure_there_are_none() {
        let none = ("none".to_owned(), None);
        for hooks in
            [RpcHooks::default(), RpcHooks { namespaces: [none].into(), ..RpcHooks::default() }]
        {
            let mut rig = rig(hooks);
            rig.frame(&rpc(2, "sum"));
            assert!(rig.lines()[0].contains("\"code\":108"));
        }
    }

    #[test]
    fn replies_leave_in_the_order_of_the_calls() {
        let mut rig = rig(procedures());
        rig.frame(&[rpc(2, "a"), rpc(3, "b"), rpc(4, "c"), rpc(5, "d")].join("\n"));
        rig.consulted_at(1, Ok(returns(r#"{"n":3}"#)));
        rig.consulted_at(2, Err(Unanswered::Failed));
        let fault = backend::Fault { code: 1000, message: "no".to_owned(), temporary: true };
        rig.consulted_at(1, Ok(Verdict::Fault(fault)));
        assert_eq!(rig.lines(), [""; 0]);
        rig.consulted_at(0, Ok(returns("")));
        let lines = rig.lines();
        assert_eq!(lines[..2], [r#"{"id":2,"rpc":{}}"#, r#"{"id":3,"rpc":{"data":{"n":3}}}"#]);
        let fault = r#"{"id":4,"error":{"code":1000,"message":"no","temporary":true}}"#;
        assert_eq!(lines[2], fault);
        assert!(lines[3].contains("\"code\":100") && lines[3].contains("temporary"), "{lines:?}");
        assert!(!rig.session.is_waiting());
    }

    #[test]
    fn a_back_end_may_end_the_connection_and_nothing_follows() {
        for (reason, said) in [("away", "away"), ("", "disconnected")] {
            let mut rig = rig(procedures());
            rig.frame(&[rpc(2, "a"), rpc(3, "b")].join("\n"));
            let end = backend::Disconnect { code: 4500, reason: reason.to_owned() };
            rig.consulted_at(0, Ok(Verdict::Disconnect(end)));
            assert_eq!(rig.closed_as, Some((4500, said.to_owned())));
            rig.consulted_at(0, Ok(returns("1")));
            assert_eq!(rig.lines(), [""; 0]);
        }
    }

    #[test]
    fn what_is_no_json_is_not_sent_to_who_reads_json() {
        let mut rig = rig(procedures());
        rig.frame(&rpc(2, "a"));
        rig.consulted_at(0, Ok(returns("{")));
        assert_eq!(rig.closed, Some(DisconnectCode::InappropriateProtocol.into()));
    }
}
