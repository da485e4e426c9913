/**
 * What a job says of its progress and an estimate of its basis, in the languages that the server does not speak itself: its words are English.
 *
 * Each row is what the server says and what that is here, with `$1` and so on for what it names. A test holds this against
 * the code that says it.
 */
export type Progressing = ReadonlyArray<readonly [RegExp, string]>;

export function translated(message: string, rows: Progressing): string {
  const row = rows.find(([said]) => said.test(message));
  return row ? message.replace(...row) : message;
}

export const PORTUGUESE: Progressing = [
  [/^(\d+) of (\d+) videos$/, "$1 de $2 vídeos"],
  [/^unpacking$/, "descompactando"],
  [/^(\d+) of (\d+) clips$/, "$1 de $2 trechos"],
  [/^planned (\d+) of (\d+) recordings$/, "$1 de $2 gravações planejadas"],
  [/^wrote (\d+) of (\d+) segments$/, "$1 de $2 segmentos gravados"],
  [/^(\d+) of (\d+) segments$/, "$1 de $2 segmentos"],
  [/^Preparing the clips for the Whisper stand-in \((\d+)%\)$/, "Preparando os trechos do substituto do Whisper ($1%)"],
  [/^Making the stand-in for Whisper \((\d+)%\)$/, "Fazendo o substituto do Whisper ($1%)"],
  [
    /^Training the Whisper stand-in, step (\d+) of (\d+) \((\d+)%\)$/,
    "Treinando o substituto do Whisper, passo $1 de $2 ($3%)",
  ],
  [/^The Whisper stand-in is ready \((\d+)%\)$/, "O substituto do Whisper está pronto ($1%)"],
  [/^Fetching Whisper (.+) \((\d+)%\)$/, "Baixando o Whisper $1 ($2%)"],
  [
    /^Waiting for another process that prepares the Whisper model \((\d+)%\)$/,
    "Esperando outro processo que prepara o modelo Whisper ($1%)",
  ],
  [/^base model: Downloading (.+) \((\d+)%\)$/, "modelo base: baixando $1 ($2%)"],
  [/^base model: (.+) is complete \((\d+)%\)$/, "modelo base: $1 está completo ($2%)"],
  [/^base model: Making the tiny stand-in model \((\d+)%\)$/, "modelo base: fazendo o pequeno substituto ($1%)"],
  [/^base model: The tiny stand-in model is ready \((\d+)%\)$/, "modelo base: o pequeno substituto está pronto ($1%)"],
  [/^Preparing clip (\d+) of (\d+): (.+)$/, "Preparando o trecho $1 de $2: $3"],
  [/^Epoch (\d+) of (\d+)$/, "Época $1 de $2"],
  [/^The training is complete$/, "O treino terminou"],
  [/^The Ray cluster has no room yet$/, "O cluster Ray ainda não tem lugar"],
  [
    /^The Ray cluster has no room for (\d+) training workers with (.+?) each(?:, its nodes have .+ in all)?$/,
    "O cluster Ray não tem lugar para $1 processos de treino com $2 cada",
  ],
  [/^The Ray cluster cannot be reached.*$/, "O cluster Ray não responde"],
  [/^The Ray cluster refuses the job \(HTTP (\d+)\).*$/, "O cluster Ray recusa a tarefa (HTTP $1)"],
  [
    /^The dataset is being transcribed: how much there is to train on will be known when that has ended\.$/,
    "Os dados estão sendo transcritos: quanto há para treinar se saberá quando isso terminar.",
  ],
  [
    /^No training from (.+) was measured on this installation yet: the first one will tell how long it takes\.$/,
    "Nenhum treino a partir de $1 foi medido nesta instalação ainda: o primeiro dirá quanto tempo leva.",
  ],
  [
    /^(\S+) s a step, as the training of (.+) on (.+) took at batch size (\d+)\.$/,
    "$1 s por passo, como levou o treino de $2 em $3 com lote de $4.",
  ],
  [
    /^(\S+) s a step, as the training of (.+) on (.+) took at batch size (\d+), in proportion for batch size (\d+)\.$/,
    "$1 s por passo, como levou o treino de $2 em $3 com lote de $4, em proporção para lote de $5.",
  ],
];
