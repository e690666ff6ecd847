// Calls one Node.js handler as Lambda does: the event on standard input, the answer in the file that it is told.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const env = process.env;
const event = JSON.parse(readFileSync(0, 'utf8'));
const deadline = Date.now() + 1000 * Number(env.REHEARSAL_TIMEOUT_SECONDS);
const context = {
  functionName: env.AWS_LAMBDA_FUNCTION_NAME,
  functionVersion: '$LATEST',
  memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
  invokedFunctionArn: env.REHEARSAL_FUNCTION_ARN,
  awsRequestId: env.REHEARSAL_REQUEST_ID,
  logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
  logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
  getRemainingTimeInMillis: () => deadline - Date.now(),
};
const at = env._HANDLER.lastIndexOf('.');
const [file, name] = [env._HANDLER.slice(0, at), env._HANDLER.slice(at + 1)];

async function load() {
  const module = join(env.LAMBDA_TASK_ROOT, file);
  if (existsSync(`${module}.mjs`)) return import(pathToFileURL(`${module}.mjs`));
  return createRequire(import.meta.url)(module);
}

// A handler answers by a promise or, when it takes a third argument, by calling that.
function called(handler) {
  return new Promise((resolve, reject) => {
    const given = handler(event, context, (error, value) => (error ? reject(error) : resolve(value)));
    if (typeof given?.then === 'function' || handler.length < 3) resolve(given);
  });
}

let answer;
try {
  answer = { payload: (await called((await load())[name])) ?? null };
} catch (error) {
  console.error(error);
  answer = { payload: { errorMessage: error?.message ?? String(error), errorType: error?.name ?? 'Error', trace: String(error?.stack).split('\n') }, error: 'Unhandled' };
}
writeFileSync(env.REHEARSAL_ANSWER, JSON.stringify(answer));
process.exit(0);
