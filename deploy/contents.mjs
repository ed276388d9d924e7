// What is inside a package and whose it is: a list of its parts in SPDX 2.3, and Debian's copyright file.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './setup.mjs';

/** Compiled into the addons and part of no bundle: headers of nan. */
const IN_ADDONS = ['nan', 'epoll', 'i2c-bus'];

/**
 * @typedef {object} Part
 * @property {string} name
 * @property {string} version
 * @property {string} license as package-lock.json has it
 * @property {string} sha512 of the archive that it was unpacked from, in hexadecimal
 * @property {string} notice its licence's text
 */

/**
 * The packages of others that went into the bundle and its addons, by name.
 * @param {readonly string[]} inputs files of the bundle, relative to the checkout
 * @returns {Part[]}
 */
export function partsOf(inputs) {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const folders = inputs.flatMap((input) => {
    const folder = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input.replace(/^[\w-]+:/, ''))?.[0];
    return folder === undefined ? [] : [folder];
  });
  const all = new Set([...folders, ...IN_ADDONS.map((name) => `node_modules/${name}`)]);
  return [...all].sort().map((folder) => {
    const { name, version } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
    const integrity = /^sha512-(.*)$/.exec(lock[folder]?.integrity ?? '')?.[1];
    if (integrity === undefined || lock[folder].version !== version) {
      throw new Error(`${folder} is ${version}, and package-lock.json does not know that: run npm ci`);
    }
    const file = readdirSync(join(root, folder)).find((each) => /^(licen[cs]e|copying)/i.test(each));
    return {
      name,
      version,
      license: lock[folder].license ?? 'none is named',
      sha512: Buffer.from(integrity, 'base64').toString('hex'),
      notice: file === undefined ? '' : readFileSync(join(root, folder, file), 'utf8').trim(),
    };
  });
}

/**
 * The list of parts. The same package has the same list: its name in the world is made from what is in it.
 * @param {{ version: string, architecture: string, date: string, parts: readonly Part[], releases: readonly { version: string }[], files: Readonly<Record<string, string>> }} of
 * `files` are those of the package that a compiler made, by their path, with their SHA-256
 */
export function partsList({ version, architecture, date, parts, releases, files }) {
  const product = 'SPDXRef-chassis-power';
  const described = {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `chassis-power_${version}_${architecture}`,
    creationInfo: { created: date, creators: ['Tool: chassis-power npm run package'] },
    packages: [
      pack(product, 'chassis-power', version, 'Apache-2.0'),
      ...parts.map(({ name, version: ofPart, license, sha512 }) => ({
        ...pack(idOf(name), name, ofPart, license),
        checksums: [{ algorithm: 'SHA512', checksumValue: sha512 }],
        externalRefs: [
          {
            referenceCategory: 'PACKAGE-MANAGER',
            referenceType: 'purl',
            referenceLocator: `pkg:npm/${name.replace('@', '%40')}@${ofPart}`,
          },
        ],
      })),
      ...releases.map(({ version: ofNode }) => pack(`SPDXRef-node-${ofNode}`, 'node', ofNode, 'MIT')),
    ],
    files: Object.entries(files).map(([path, sha256]) => ({
      SPDXID: fileId(path),
      fileName: `./${path}`,
      fileTypes: ['BINARY'],
      checksums: [{ algorithm: 'SHA256', checksumValue: sha256 }],
      licenseConcluded: 'NOASSERTION',
      copyrightText: 'NOASSERTION',
    })),
    relationships: [
      relation('SPDXRef-DOCUMENT', 'DESCRIBES', product),
      ...parts.map(({ name }) => relation(product, 'CONTAINS', idOf(name))),
      ...Object.keys(files).map((path) => relation(product, 'CONTAINS', fileId(path))),
      // Their headers only.
      ...releases.map(({ version: ofNode }) =>
        relation(`SPDXRef-node-${ofNode}`, 'BUILD_DEPENDENCY_OF', product),
      ),
    ],
  };
  const hash = createHash('sha256').update(JSON.stringify(described)).digest('hex');
  const documentNamespace = `urn:chassis-power:spdx:${hash}`;
  return `${JSON.stringify({ ...described, documentNamespace }, null, 2)}\n`;
}

/** An identifier or an expression of SPDX, by its shape. */
const EXPRESSION = /^\(?[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*\)?$/;

/** @param {string} id @param {string} name @param {string} version @param {string} license */
function pack(id, name, version, license) {
  const isKnown = EXPRESSION.test(license);
  return {
    SPDXID: id,
    name,
    versionInfo: version,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    licenseConcluded: 'NOASSERTION',
    licenseDeclared: isKnown ? license : 'NOASSERTION',
    ...(isKnown ? {} : { licenseComments: `It says "${license}" of itself.` }),
    copyrightText: 'NOASSERTION',
  };
}

/** @param {string} from @param {string} type @param {string} to */
function relation(from, type, to) {
  return { spdxElementId: from, relationshipType: type, relatedSpdxElement: to };
}

/** @param {string} name */
function idOf(name) {
  return `SPDXRef-npm-${name.replaceAll(/[^A-Za-z0-9.-]/g, '-')}`;
}

/** @param {string} path */
function fileId(path) {
  return `SPDXRef-file-${path.replaceAll(/[^A-Za-z0-9.-]/g, '-')}`;
}

/**
 * Debian's copyright file, with the licences of all parts.
 * @param {readonly Part[]} parts
 */
export function copyrightText(parts) {
  const own = join(root, 'LICENSE');
  if (!existsSync(own)) throw new Error(`${own} is missing`);
  const paragraphs = [
    'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: chassis-power',
    'Files: *\nCopyright: the authors of chassis-power\nLicense: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.',
    ...parts.map(({ name, version, license, notice }) => {
      const [copyright = ''] = /^.*copyright.*\d.*$/im.exec(notice) ?? [];
      const text = notice === '' ? `${license}, says its package.json.` : notice;
      const body = text
        .split('\n')
        .map((line) => ` ${line.trimEnd() === '' ? '.' : line.trimEnd()}`)
        .join('\n');
      return `Files: usr/lib/chassis-power/*\nComment: ${name} ${version}, which is in the bundle\nCopyright: ${copyright.trim() || `the authors of ${name}`}\nLicense: ${license}\n${body}`;
    }),
  ];
  return `${paragraphs.join('\n\n')}\n`;
}
