// Asks a proxy by its admin socket, from this process: a namespace keeps nobody from it, and no process needs
// to be started for each question.
import { request } from 'node:http';

/** Status 0: no answer, as where the socket is not there. */
export async function askSocket(
  socketPath: string,
  path: string,
  method: 'GET' | 'POST' = 'GET',
): Promise<{ status: number; body: string }> {
  return await new Promise((resolve) => {
    const asked = request({ socketPath, path, method, agent: false }, (answer) => {
      let body = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => {
        body += chunk;
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
      answer.on('error', () => resolve({ status: 0, body: '' }));
    });
    asked.on('error', () => resolve({ status: 0, body: '' }));
    asked.end();
  });
}
