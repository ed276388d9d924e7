// The manual page and the completion of bash, made from the tables that the program's own help is made from.

/**
 * @typedef {{ value?: string, help: string }} Option
 * @typedef {{ summary: string, takes: string, options: Readonly<Record<string, Option>> }} VerbEntry
 * @typedef {{ text: readonly string[], examples: readonly string[] }} VerbHelp
 * @typedef {object} CommandLine what src/cli has
 * @property {Readonly<Record<string, VerbEntry>>} VERBS
 * @property {Readonly<Record<string, Option>>} COMMON
 * @property {Readonly<Record<string, VerbHelp>>} HELP
 * @property {Readonly<Record<string, number>>} EXIT
 * @property {Readonly<Record<string, string>>} EXIT_TEXT
 * @property {string} DEFAULT_BOARD
 */

/**
 * The manual page, for man(1).
 * @param {CommandLine} commandLine
 * @param {{ version: string, date: string }} release
 */
export function manualPage({ VERBS, COMMON, HELP, EXIT, EXIT_TEXT, DEFAULT_BOARD }, { version, date }) {
  const verbs = Object.entries(VERBS).flatMap(([name, { takes, options }]) => {
    const { text, examples } = HELP[name] ?? { text: [], examples: [] };
    return [
      `.SS ${roff([name, takes].join(' ').trim())}`,
      ...text.flatMap((paragraph, index) => (index === 0 ? [roff(paragraph)] : ['.PP', roff(paragraph)])),
      ...optionLines(options),
      '.PP',
      ...examples.flatMap((example) => ['.nf', `.RS\n${roff(`chassis-power ${example}`)}`, '.RE', '.fi']),
    ];
  });
  const exits = Object.entries(EXIT)
    .sort(([, one], [, other]) => one - other)
    .flatMap(([name, code]) => ['.TP', String(code), roff(EXIT_TEXT[name] ?? name)]);
  return `${[
    `.TH CHASSIS\\-POWER 8 ${date} "chassis\\-power ${version}" "System Administration"`,
    '.SH NAME',
    'chassis\\-power \\- power sequencing controller for server chassis',
    '.SH SYNOPSIS',
    '.B chassis\\-power',
    '.I VERB',
    '[option ...]',
    '.SH DESCRIPTION',
    'Drives the power enables of a server chassis over GPIO and PMBus in the order that its board needs, waits for power good,',
    'and takes everything down again when a rail fails. The oneshots of systemd run it, and people at a shell.',
    '.SH VERBS',
    ...verbs,
    '.SH OPTIONS',
    'Every verb takes these.',
    ...optionLines(COMMON),
    '.TP',
    '.B \\-\\-help',
    'What the program, or a verb, does and takes. Nothing is done.',
    '.TP',
    '.B \\-\\-version',
    'The version.',
    '.SH EXIT STATUS',
    ...exits,
    '.SH ENVIRONMENT',
    '.TP',
    '.B CHASSIS_POWER_BOARD',
    roff(`The board file where --board does not name one; else ${DEFAULT_BOARD}.`),
    '.SH FILES',
    '.TP',
    `.I ${roff(DEFAULT_BOARD)}`,
    'The board file.',
    '.TP',
    '.I /usr/share/chassis\\-power/boards',
    'Examples of board files, and the JSON Schema for an editor.',
    '.TP',
    '.I /run/chassis\\-power',
    'State and lock of each chassis, for as long as the machine runs.',
    '.TP',
    '.I /var/lib/chassis\\-power',
    'The last runs and failures, also of earlier boots.',
    '.SH SEE ALSO',
    roff('systemctl(1), journalctl(1), busctl(1)'),
  ].join('\n')}\n`;
}

/** @param {Readonly<Record<string, Option>>} options */
function optionLines(options) {
  return Object.entries(options).flatMap(([name, { value, help }]) => [
    '.TP',
    `.B ${roff(value === undefined ? `--${name}` : `--${name} ${value}`)}`,
    roff(help),
  ]);
}

/**
 * Text as roff takes it: an ASCII minus, and no request at the start of a line.
 * @param {string} text
 */
function roff(text) {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/, '\\&$1');
}

/** Alternatives that are all there are, as in `on|off`; `N|all` and `FILE` are none. */
const ALTERNATIVES = /^[a-z0-9-]+(?:\|[a-z0-9-]+)+$/;

/**
 * The completion of bash: verbs, their options, and the values of those that have a few.
 * @param {Pick<CommandLine, 'VERBS' | 'COMMON'>} commandLine
 */
export function bashCompletion({ VERBS, COMMON }) {
  const all = Object.assign({}, COMMON, ...Object.values(VERBS).map(({ options }) => options));
  const values = Object.entries(/** @type {Record<string, Option>} */ (all)).flatMap(([name, { value }]) => {
    if (value === undefined) return [];
    if (ALTERNATIVES.test(value)) return [`    --${name}) ${words(value.split('|'))} ;;`];
    if (value === 'FILE') return [`    --${name}) ${reply('-f')} ;;`];
    return [`    --${name}) ${value === 'DIR' ? reply('-d') : 'COMPREPLY=()'} ;;`];
  });
  const verbs = Object.entries(VERBS).map(([name, { takes, options }]) => {
    const operands = takes.split('|').flatMap((each) => /^[a-z-]+/.exec(each) ?? []);
    const flags = Object.keys({ ...options, ...COMMON }).map((option) => `--${option}`);
    return `    ${name}) ${words([...operands, ...flags, '--help'])} ;;`;
  });
  return `# Completion of chassis-power for bash. Made from the tables of the program's own help.
_chassis_power() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} verb='' word
  COMPREPLY=()
  case $prev in
${values.map((line) => line.replace(/ ;;$/, '; return ;;')).join('\n')}
  esac
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
    ${Object.keys(VERBS).join(' | ')})
      verb=$word
      break
      ;;
    esac
  done
  case $verb in
    '') ${words([...Object.keys(VERBS), '--help', '--version'])} ;;
${verbs.join('\n')}
  esac
}
complete -o filenames -F _chassis_power chassis-power
`;
}

/** @param {readonly string[]} list */
function words(list) {
  return reply(`-W '${list.join(' ')}'`);
}

/** @param {string} what */
function reply(what) {
  return `mapfile -t COMPREPLY < <(compgen ${what} -- "$cur")`;
}
