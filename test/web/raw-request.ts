/** Requests as bytes, for what no HTTP client would send. */
import { connect } from 'node:net';

/** Sends `text` to a server on this machine; resolves with all that it answers until the connection ends. */
export function rawRequest(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on('data', (piece) => {
      answer += piece;
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}
