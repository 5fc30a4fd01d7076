// What stands for `eventsource` in a page: the browser's own.

export default EventSource;
