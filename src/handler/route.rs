//! Which paths are served: a tree of segments, with parameters and wildcards.
//!
//! A path matches the most literal route: literal segments before `:name` before `*`. Segments are
//! compared as they came, not percent-decoded. Invariant: a match costs one walk down the tree
//! with at most two ways to go back per segment, and allocates nothing.

use std::cell::RefCell;
use std::time::Duration;

use super::{Middleware, Params};
use crate::limits::{IDLE_DEFAULT, MESSAGE_BYTES_DEFAULT, ROUTE_PARAMS_MAX};
use crate::ws::close::{code, may_be_sent};
use crate::ws::handshake::AllowedOrigins;
use crate::ws::handshake::origin::{is_of_host, is_of_nameless_host};

/// Which `Origin` headers a route accepts. Requests without one do not come from a browser's page
/// and are accepted unless the list says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// The origin's host and port are those of the `Host` header.
    #[default]
    SameHost,
    /// The same, and that host is an address or `localhost`: for what listens on this machine only,
    /// where a page could have its own name point to (DNS rebinding).
    Nameless,
    /// Those on this list.
    Allowed(AllowedOrigins),
}

impl Origins {
    /// Every origin: any page on the web may connect with its visitor's cookies.
    pub const ANY: Self = Self::Allowed(AllowedOrigins::ANY);

    /// Whether a request with this `Origin` and this `Host` is let in.
    pub fn admits(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        match (self, origin) {
            (Self::Allowed(list), origin) => list.allows(origin),
            (Self::SameHost | Self::Nameless, None) => true,
            (Self::SameHost, Some(origin)) => is_of_host(origin, host),
            (Self::Nameless, Some(origin)) => is_of_nameless_host(origin, host),
        }
    }
}

/// What a route allows its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one assembled message (1009 beyond).
    pub message_bytes_max: usize,
    /// Time without a byte from the peer after which the connection is closed; `None` for never.
    pub idle: Option<Duration>,
    /// Accepted origins (403 otherwise).
    pub origins: Origins,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: MESSAGE_BYTES_DEFAULT,
            idle: Some(IDLE_DEFAULT),
            origins: Origins::default(),
        }
    }
}

/// One link of a chain. Its cell is borrowed for one step of it, so never twice.
type Link = RefCell<Box<dyn Middleware>>;

/// One pattern with its limits and its own chain of middleware.
pub struct Route {
    pattern: String,
    limits: Limits,
    farewell: Words,
    overflow: Option<Words>,
    chain: Vec<Link>,
}

/// A close code and its reason.
type Words = (u16, &'static str);

impl Route {
    /// A route for `pattern`: `/chat`, `/user/:id`, `/ws/*`. A `*` is the last segment and stands
    /// for the rest of the path, also an empty one.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            limits: Limits::default(),
            farewell: (code::GOING_AWAY, "server is stopping"),
            overflow: None,
            chain: Vec::new(),
        }
    }

    /// Sets all limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What connections are told when the server stops, instead of 1001.
    ///
    /// # Panics
    ///
    /// If the code may not be sent (RFC 6455 §7.4): the program itself is wrong then.
    #[must_use]
    pub fn farewell(mut self, code: u16, reason: &'static str) -> Self {
        assert!(may_be_sent(code), "{code} may not be sent");
        self.farewell = (code, reason);
        self
    }

    /// What connections are told whose output reached its bound, instead of 1008. A peer that
    /// does not read is cut; the code is then only what [`Closed`](super::Closed) says.
    ///
    /// # Panics
    ///
    /// If the code may not be sent (RFC 6455 §7.4).
    #[must_use]
    pub fn overflow(mut self, code: u16, reason: &'static str) -> Self {
        assert!(may_be_sent(code), "{code} may not be sent");
        self.overflow = Some((code, reason));
        self
    }

    /// Appends a link to the route's chain.
    #[must_use]
    pub fn middleware(mut self, link: impl Middleware) -> Self {
        self.chain.push(RefCell::new(Box::new(link)));
        self
    }
}

/// The routes of one shard, and the chain around all of them.
#[derive(Default)]
pub struct Routes {
    known: Vec<Route>,
    chain: Vec<Link>,
    root: Node,
}

#[derive(Default)]
struct Node {
    literals: Vec<(Box<str>, Node)>,
    param: Option<(Box<str>, Box<Node>)>,
    rest: Option<u16>,
    here: Option<u16>,
}

/// A route that a path matched, by number, and the parameters in it.
#[derive(Clone, Copy, Debug)]
pub struct RouteMatch<'a> {
    /// The number of the route, in the order they were added.
    pub number: u16,
    /// The values of its parameters.
    pub params: Params<'a>,
}

impl Routes {
    /// No route yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every path, with the default limits.
    pub fn any() -> Self {
        Self::new().route(Route::new("/*"))
    }

    /// Adds a route.
    ///
    /// # Panics
    ///
    /// If the pattern does not start with `/`, has more than [`ROUTE_PARAMS_MAX`] parameters, has
    /// a segment behind `*`, or is there already: the program itself is wrong then.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        let number = u16::try_from(self.known.len()).expect("fewer than 65,536 routes");
        let path = route.pattern.strip_prefix('/').expect("a route starts with a slash");
        let params = path.split('/').filter(|segment| segment.starts_with(':')).count();
        assert!(params <= ROUTE_PARAMS_MAX, "more than {ROUTE_PARAMS_MAX} parameters");
        let mut node = &mut self.root;
        let mut segments = path.split('/').peekable();
        while let Some(segment) = segments.next() {
            if segment == "*" {
                assert!(segments.peek().is_none(), "nothing stands behind `*`");
                assert!(node.rest.replace(number).is_none(), "{} twice", route.pattern);
                self.known.push(route);
                return self;
            }
            node = node.child(segment);
        }
        assert!(node.here.replace(number).is_none(), "{} twice", route.pattern);
        self.known.push(route);
        self
    }

    /// Appends a link to the chain around all routes.
    #[must_use]
    pub fn middleware(mut self, link: impl Middleware) -> Self {
        self.chain.push(RefCell::new(Box::new(link)));
        self
    }

    /// The route for `path` (without its query), if there is one.
    pub fn find<'a>(&'a self, path: &'a str) -> Option<RouteMatch<'a>> {
        let mut params = Params::default();
        let path = path.strip_prefix('/')?;
        let number = self.root.find(Some(path), &mut params)?;
        Some(RouteMatch { number, params })
    }

    /// The limits of a route.
    pub fn limits_of(&self, number: u16) -> &Limits {
        &self.known[usize::from(number)].limits
    }

    /// The pattern of a route.
    pub fn pattern_of(&self, number: u16) -> &str {
        &self.known[usize::from(number)].pattern
    }

    /// The number of the route with this pattern.
    pub fn number_of(&self, pattern: &str) -> Option<u16> {
        let index = self.known.iter().position(|route| route.pattern == *pattern)?;
        u16::try_from(index).ok()
    }

    /// What connections of a route are told when the server stops.
    pub fn farewell_of(&self, number: u16) -> (u16, &'static str) {
        self.known[usize::from(number)].farewell
    }

    /// What connections of a route are told when their output reached its bound, if the route
    /// says so.
    pub fn overflow_of(&self, number: u16) -> Option<(u16, &'static str)> {
        self.known[usize::from(number)].overflow
    }

    /// How many routes there are.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// The links around a route, from the outermost to the innermost.
    pub(crate) fn links(&self, number: u16) -> impl DoubleEndedIterator<Item = &Link> {
        self.chain.iter().chain(&self.known[usize::from(number)].chain)
    }
}

impl Node {
    fn child(&mut self, segment: &str) -> &mut Self {
        if let Some(name) = segment.strip_prefix(':') {
            let (known, child) = self.param.get_or_insert_with(|| (name.into(), Box::default()));
            assert!(&**known == name, "one place in a path has two names: {known}, {name}");
            return child;
        }
        let place = self.literals.iter().position(|(literal, _)| &**literal == segment);
        let place = place.unwrap_or_else(|| {
            self.literals.push((segment.into(), Self::default()));
            self.literals.len() - 1
        });
        &mut self.literals[place].1
    }

    /// `rest` is what stands behind the last slash taken; `None` when the path is used up.
    fn find<'a>(&'a self, rest: Option<&'a str>, params: &mut Params<'a>) -> Option<u16> {
        let Some(path) = rest else { return self.here };
        let (segment, behind) = match path.split_once('/') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (path, None),
        };
        if let Some((_, child)) = self.literals.iter().find(|(name, _)| &**name == segment)
            && let Some(number) = child.find(behind, params)
        {
            return Some(number);
        }
        if let Some((name, child)) = &self.param
            && !segment.is_empty()
        {
            let mark = params.len();
            params.push(name, segment);
            if let Some(number) = child.find(behind, params) {
                return Some(number);
            }
            params.truncate(mark);
        }
        if self.rest.is_some() {
            params.set_rest(path);
        }
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(patterns: &[&str]) -> Routes {
        patterns.iter().fold(Routes::new(), |routes, one| routes.route(Route::new(*one)))
    }

    fn found(routes: &Routes, path: &str) -> Option<String> {
        let found = routes.find(path)?;
        let mut text = routes.pattern_of(found.number).to_owned();
        for (name, value) in found.params.iter() {
            text.extend([" ", name, "=", value]);
        }
        if let Some(rest) = found.params.rest() {
            text.extend([" *=", rest]);
        }
        Some(text)
    }

    #[test]
    fn the_most_literal_route_wins_whatever_the_order() {
        let patterns = ["/ws/*", "/user/:id", "/user/me", "/user/:id/inbox", "/", "/a/:b/:c"];
        let expected = [
            ("/", Some("/")),
            ("/ws/", Some("/ws/* *=")),
            ("/ws/a/b", Some("/ws/* *=a/b")),
            ("/ws", None),
            ("/user/me", Some("/user/me")),
            ("/user/42", Some("/user/:id id=42")),
            ("/user/", None),
            ("/user/42/inbox", Some("/user/:id/inbox id=42")),
            ("/user/me/inbox", Some("/user/:id/inbox id=me")),
            ("/user/42/outbox", None),
            ("/a/1/2", Some("/a/:b/:c b=1 c=2")),
            ("/nowhere", None),
            ("nowhere", None),
            ("", None),
        ];
        let mut reversed = patterns;
        reversed.reverse();
        for order in [patterns, reversed] {
            let routes = routes(&order);
            for (path, want) in expected {
                assert_eq!(found(&routes, path).as_deref(), want, "{path}");
            }
        }
    }

    #[test]
    fn a_way_not_taken_leaves_no_parameter_behind() {
        let routes = routes(&["/:a/:b/x", "/*"]);
        assert_eq!(found(&routes, "/1/2/y").as_deref(), Some("/* *=1/2/y"));
    }

    #[test]
    fn any_takes_every_path() {
        for path in ["/", "/a", "/a/b/"] {
            assert!(Routes::any().find(path).is_some(), "{path}");
        }
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_pattern_stands_once() {
        let _ = routes(&["/a", "/a"]);
    }

    #[test]
    #[should_panic(expected = "two names")]
    fn one_place_has_one_name() {
        let _ = routes(&["/:a", "/:b/c"]);
    }
}
