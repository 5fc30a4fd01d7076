// What stands for `ws` in a page: the browser's own WebSocket, which cannot be cut, but left.

export default class extends WebSocket {
  terminate() {
    this.close();
  }
}
