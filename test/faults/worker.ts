import { parentPort, workerData } from 'node:worker_threads';
import { type FromWorker, runShard, type Shard } from './campaign.ts';

const tell = (message: FromWorker) => parentPort?.postMessage(message);

tell(await runShard(workerData as Shard, tell));
