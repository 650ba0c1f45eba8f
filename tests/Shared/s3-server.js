'use strict';
// An S3 server for tests: s3rver, with four promises of S3 that it does not keep by itself.
// - An object is there whole or not at all. s3rver writes under the object's own name, and answers before all is written.
// - What was begun as a multipart upload can be abandoned.
// - Deleting beside writing does no harm: s3rver removes a directory that is about to be written to.
// - The source of a copy is read as it is written, with its slashes encoded.
// What it lacks all the same: it does not compare V4 signatures (only their form, keys and times), lists no multipart uploads,
// makes no parts by copying, and takes parts of any size.
// Usage: node s3-server.js DIRECTORY BUCKET. Prints the port. The keys are s3rver's own: S3RVER, S3RVER.
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const { Transform } = require('stream');
const { pipeline } = require('stream/promises');
const S3rver = require('s3rver');
const Store = require('s3rver/lib/stores/filesystem');

const [directory, bucket] = process.argv.slice(2);
const aside = path.join(directory, 'aside');
const root = path.join(directory, 'buckets');
fs.mkdirSync(aside, { recursive: true });
fs.mkdirSync(root, { recursive: true });

async function receive(content) {
  const file = path.join(aside, crypto.randomUUID());
  const md5 = crypto.createHash('md5');
  let size = 0;
  const count = new Transform({
    transform(chunk, encoding, done) {
      md5.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  try {
    await pipeline(content, count, fs.createWriteStream(file));
  } catch (error) {
    fs.rmSync(file, { force: true });
    throw error;
  }
  return { file, size, md5: md5.digest('hex') };
}

async function move(file, target) {
  for (let tries = 0; ; tries++) {
    await fs.promises.mkdir(path.dirname(target), { recursive: true });
    try {
      return await fs.promises.rename(file, target);
    } catch (error) {
      if (error.code !== 'ENOENT' || tries === 20) throw error;
    }
  }
}

async function write(text, target) {
  const file = path.join(aside, crypto.randomUUID());
  await fs.promises.writeFile(file, text);
  await move(file, target);
}

Store.prototype.putObject = async function (object) {
  const { file, size, md5 } = await receive(object.content);
  const target = this.getResourcePath(object.bucket, object.key, 'object');
  await write(md5, `${target}.md5`);
  await write('{}', this.getResourcePath(object.bucket, object.key, 'metadata.json'));
  await move(file, target);
  return { size, md5 };
};

Store.prototype.putPart = async function (bucketName, uploadId, number, content) {
  const { file, size, md5 } = await receive(content);
  await move(file, path.join(this.getResourcePath(bucketName, undefined, 'uploads'), uploadId, `${number}`));
  return { size, md5 };
};

Store.prototype.copyObject = async function (fromBucket, fromKey, toBucket, toKey) {
  const from = this.getResourcePath(fromBucket, fromKey, 'object');
  await this.putObject({ bucket: toBucket, key: toKey, content: fs.createReadStream(from) });
  return this.getMetadata(toBucket, toKey);
};

const remove = Store.prototype.deleteObject;
Store.prototype.deleteObject = async function (...object) {
  try {
    await remove.apply(this, object);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTEMPTY') throw error;
  }
};

const server = new S3rver({
  directory: root,
  address: '127.0.0.1',
  port: 0,
  silent: true,
  vhostBuckets: false,
  configureBuckets: [{ name: bucket }],
});
server.middleware.unshift(async (context, next) => {
  const source = context.headers['x-amz-copy-source'];
  if (source) context.headers['x-amz-copy-source'] = encodeURI(decodeURIComponent(source));
  if (context.method !== 'DELETE' || !/^[0-9a-f]{32}$/.test(context.query.uploadId || '')) return next();
  const parts = path.join(server.store.getResourcePath(bucket, undefined, 'uploads'), context.query.uploadId);
  await fs.promises.rm(parts, { recursive: true, force: true });
  context.status = 204;
});
server.run().then(({ port }) => console.log(port));
