import { parentPort, workerData } from 'node:worker_threads';
import { runShard, type Shard } from './campaign.ts';

parentPort?.postMessage(await runShard(workerData as Shard));
