//! What only a back end can answer: questions to it, and what its verdicts come to (19).

use super::command::Refusal;
use super::deferred::Deferred;
use super::effects::{Effect, Effects};
use super::options::{Keep, Retention};
use super::state::{Session, Terms};
use super::under_way::{Awaited, SlotId, Taken};
use crate::backend::{
    self, Call, Caller, Event, PublishOnce, PublishResult, Question, RpcResult, Unanswered, Verdict,
};
use crate::limits::PUBLICATION_BYTES_MAX;
use crate::protocol::{
    DisconnectCode, ErrorCode, Failure, Format, Publication, Publish, Push, Reply, Rpc,
};

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
    pub(super) fn call(&self, proxy: &str, event: Event, terms: &Terms) -> Question {
        let protocol = match self.format() {
            Format::Json => "json",
            Format::Protobuf => "protobuf",
        };
        Question::Call(Box::new(Call {
            proxy: proxy.to_owned(),
            caller: Caller {
                client: self.client_id(terms).to_string(),
                user: self.user().to_owned(),
                transport: self.transport().name().to_owned(),
                protocol: protocol.to_owned(),
                meta: self.meta().to_vec(),
                headers: self.headers().map(|all| all.http.clone()).unwrap_or_default(),
                emulated_headers: self
                    .headers()
                    .map(|all| all.emulated.clone())
                    .unwrap_or_default(),
            },
            event,
        }))
    }

    /// A question was answered, or there was no asking it. Returns what was deferred meanwhile, to
    /// be read now.
    pub fn consulted(
        &mut self,
        slot: SlotId,
        result: Result<Verdict, Unanswered>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        if self.is_closed() {
            return Deferred::default();
        }
        if slot == SlotId::REFRESH {
            self.go_on_as(result, terms, effects);
            return Deferred::default();
        }
        if let Some(number) = slot.as_sub_refresh() {
            self.stay_as(number, result, terms, effects);
            return Deferred::default();
        }
        let taken = self.take(slot);
        if let Awaited::Token = taken.awaited {
            return self.token_checked(slot, &result, effects);
        }
        match result {
            Ok(Verdict::Disconnect(end)) => {
                self.close_as(&end, effects);
                Deferred::default()
            }
            _ if let Awaited::Overruled(code) = taken.awaited => {
                self.answer(taken, &Reply::Error(code.into()), effects)
            }
            Err(_) => self.refuse(taken, &Reply::Error(ErrorCode::Internal.into()), effects),
            Ok(Verdict::Fault(fault)) => {
                let backend::Fault { code, message, temporary } = &fault;
                let failure = Failure { code: *code, message, is_temporary: *temporary };
                self.refuse(taken, &Reply::Failure(failure), effects)
            }
            Ok(verdict) => self.go_on_with(taken, verdict, terms, effects),
        }
    }

    fn go_on_with(
        &mut self,
        mut taken: Taken,
        verdict: Verdict,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        match (&mut taken.awaited, verdict) {
            (Awaited::Connect(held), Verdict::Connect(result)) => {
                let held = std::mem::take(held);
                self.connect_as(taken, held, result.map(|result| *result), terms, effects)
            }
            (Awaited::Subscribe(wanted), Verdict::Subscribe(result)) => {
                let wanted = std::mem::take(wanted);
                self.subscribe_as(taken, &wanted, result, terms, effects)
            }
            (Awaited::Rpc, Verdict::Rpc(RpcResult { data })) => {
                if self.cannot_be_said(&data) {
                    self.close(DisconnectCode::InappropriateProtocol, effects);
                    return Deferred::default();
                }
                self.answer(taken, &Reply::Rpc(&data), effects)
            }
            (Awaited::Publish(data), Verdict::Publish(mut result)) => {
                if result.data.is_empty() {
                    result.data = std::mem::take(data).into();
                }
                match self.publish_as(&taken, &result, terms, effects) {
                    Ok(()) => Deferred::default(),
                    Err(code) => self.answer(taken, &Reply::Error(code.into()), effects),
                }
            }
            (Awaited::Published, Verdict::Published) => {
                self.answer(taken, &Reply::Publish, effects)
            }
            (awaited, verdict) => unreachable!("{awaited:?}: nobody asked for {verdict:?}"),
        }
    }

    /// Replies with an error to what a back end was asked for.
    pub(super) fn refuse(
        &mut self,
        taken: Taken,
        reply: &Reply<'_>,
        effects: &mut Effects,
    ) -> Deferred {
        let is_connect = matches!(taken.awaited, Awaited::Connect(_));
        self.channel_count -= u16::from(matches!(taken.awaited, Awaited::Subscribe(_)));
        let deferred = self.answer(taken, reply, effects);
        if is_connect && !self.is_closed() {
            self.be_refused(effects);
        }
        deferred
    }

    /// Asks whether something may be published.
    pub(super) fn ask_to_publish(
        &mut self,
        id: u32,
        request: &Publish<'_>,
        proxy: &str,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        let (channel, data) = (&*request.channel, request.data.bytes());
        let event = Event::Publish { channel: channel.to_owned(), data: data.to_vec() };
        let question = self.call(proxy, event, terms);
        let slot = self.begin().await_answer(id, channel, Awaited::Publish(data.into()));
        effects.push(Effect::Consult { slot, question: question.into() });
    }

    /// Publishes as a back end has it.
    fn publish_as(
        &mut self,
        taken: &Taken,
        result: &PublishResult,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        if self.cannot_be_said(&result.data) {
            return Err(ErrorCode::Internal);
        }
        let under_way = self.under_way_mut().expect("it was taken");
        let channel = under_way.await_more(taken.slot, Awaited::Published).to_owned();
        let options = *terms.rules.named(&channel)?;
        let tags: Vec<_> = result.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
        let publication = Publication {
            data: &result.data,
            info: Some(self.shown_in(&channel, terms)),
            tags: &tags,
            ..Publication::default()
        };
        let keep = options
            .keep()
            .filter(|_| !result.skips_history)
            .map(|keep| Keep { makes_delta: keep.makes_delta || result.makes_delta, ..keep });
        if result.version > 0 || !result.key.is_empty() {
            return self.publish_once(taken.slot, &channel, publication, keep, result, effects);
        }
        effects.publish((taken.id, Some(taken.slot)), &channel, publication, keep);
        Ok(())
    }

    /// Has the control thread publish, which knows the keys of all, and asks whether it is news.
    fn publish_once(
        &self,
        slot: SlotId,
        channel: &str,
        publication: Publication<'_>,
        keep: Option<Keep>,
        result: &PublishResult,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let mut message = Vec::new();
        self.format().write_push(&mut message, channel, &Push::Publication(publication));
        if message.len() > PUBLICATION_BYTES_MAX {
            return Err(ErrorCode::BadRequest);
        }
        let kept = keep.map(|keep| {
            let Retention { publications_max, ttl_s, meta_ttl_s } = keep.retention;
            [publications_max, ttl_s, meta_ttl_s]
        });
        let question = Question::Publish(Box::new(PublishOnce {
            channel: channel.to_owned(),
            message,
            is_binary: self.format() == Format::Protobuf,
            kept,
            makes_delta: keep.is_some_and(|keep| keep.makes_delta),
            version: (result.version > 0).then(|| (result.version, result.version_epoch.clone())),
            key: result.key.clone(),
        }));
        effects.push(Effect::Consult { slot, question: question.into() });
        Ok(())
    }

    /// Whether these bytes cannot stand in the client's format.
    pub(super) fn cannot_be_said(&self, data: &[u8]) -> bool {
        let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
        self.format() == Format::Json && !data.is_empty() && !is_json()
    }

    pub(super) fn close_as(&mut self, end: &backend::Disconnect, effects: &mut Effects) {
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
        rig.terms.rules = Rules { hooks: Hooks { rpc, ..Hooks::default() }, ..rig.terms.rules };
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

    /// A client whose publications are looked at, and that has sent one.
    fn publisher() -> Rig {
        let mut rig = Rig::positioned();
        rig.terms.rules.insecure = false;
        rig.terms.rules.hooks.publish.set(None, "censor".to_owned());
        rig.frame(concat!(
            "{\"id\":2,\"publish\":{\"channel\":\"a\",\"data\":{\"n\": 1}}}\n",
            "{\"id\":3,\"presence\":{\"channel\":\"a\"}}\n",
            "{\"id\":4,\"rpc\":{}}",
        ));
        assert_eq!((rig.consulted.len(), rig.published.len(), rig.lines()), (1, 0, vec![]));
        rig
    }

    #[test]
    fn what_is_published_is_what_the_back_end_makes_of_it() {
        let mut rig = publisher();
        rig.consulted_at(0, Ok(Verdict::Publish(PublishResult::default())));
        let lines = rig.lines();
        assert_eq!(lines[0], r#"{"id":2,"publish":{}}"#);
        assert!(lines[1].contains("\"id\":3") && lines[2].contains("\"id\":4"), "{lines:?}");
        let (channel, message) = &rig.published[0];
        assert!(channel == "a" && message.contains(r#""data":{"n": 1},"info""#), "{message}");
        assert!(rig.retention.is_some());

        let mut rig = publisher();
        let tags = [("k".to_owned(), "v".to_owned())].into();
        let other =
            PublishResult { data: b"7".to_vec(), skips_history: true, tags, ..Default::default() };
        rig.consulted_at(0, Ok(Verdict::Publish(other)));
        let (_, message) = &rig.published[0];
        assert!(message.contains(r#""data":7,"#), "{message}");
        assert!(message.contains(r#""tags":{"k":"v"}"#), "{message}");
        assert_eq!((rig.retention, rig.session.is_waiting()), (None, false));
    }

    #[test]
    fn what_is_made_once_or_only_if_it_is_news_is_made_by_the_control_thread() {
        for (key, version) in [("k", 0), ("", 3), ("k", 3)] {
            let mut rig = publisher();
            let result = PublishResult {
                key: key.to_owned(),
                version,
                version_epoch: "e".to_owned(),
                makes_delta: true,
                ..PublishResult::default()
            };
            rig.consulted_at(0, Ok(Verdict::Publish(result)));
            assert_eq!((rig.published.len(), rig.lines()), (0, vec![]));
            let Question::Publish(asked) = &rig.consulted[0].1 else { panic!("to publish") };
            assert_eq!((&*asked.channel, &*asked.key, asked.is_binary), ("a", key, false));
            assert_eq!(asked.version, (version > 0).then(|| (version, "e".to_owned())));
            assert_eq!((asked.kept, asked.makes_delta), (Some([10, 60, 600]), true));
            let message = std::str::from_utf8(&asked.message).expect("JSON");
            assert!(message.contains(r#""data":{"n": 1},"info""#), "{message}");
            rig.consulted_at(0, Ok(Verdict::Published));
            assert_eq!(rig.lines()[0], r#"{"id":2,"publish":{}}"#);
            assert!(!rig.session.is_waiting());
        }
        let mut rig = publisher();
        let result = PublishResult { key: "k".to_owned(), ..PublishResult::default() };
        rig.consulted_at(0, Ok(Verdict::Publish(result)));
        rig.consulted_at(0, Err(Unanswered::Failed));
        assert!(rig.lines()[0].contains("\"code\":100"), "it may be sent again");
    }

    #[test]
    fn what_the_back_end_refuses_is_not_published() {
        let fault = backend::Fault { code: 403, message: "no".to_owned(), temporary: false };
        let broken = PublishResult { data: b"{".to_vec(), ..PublishResult::default() };
        for (verdict, code) in [
            (Ok(Verdict::Fault(fault)), 403),
            (Ok(Verdict::Publish(broken)), 100),
            (Err(Unanswered::Busy), 100),
        ] {
            let mut rig = publisher();
            rig.consulted_at(0, verdict);
            assert!(rig.lines()[0].contains(&format!("\"code\":{code}")));
            assert_eq!((rig.published.len(), rig.session.is_waiting()), (0, false));
        }
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
