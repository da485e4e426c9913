import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ComponentType, Suspense, useEffect, useRef, useState } from "react";
import { Link, Redirect, Route, Router, Switch, useLocation } from "wouter";
import { Problem, token } from "./api/client";
import { Live, useConnected, usePolling } from "./api/live";
import { Caller, LOOK, type Scope, useMay } from "./api/may";
import { jobs, me } from "./api/queries";
import { LANGUAGES, type Language, useSpoken } from "./i18n";
import { SignIn } from "./pages/sign-in";
import { Voices } from "./pages/voices";
import { Button, ErrorNote, Note, Page, Skeleton } from "./ui/basics";
import { Boundary } from "./ui/boundary";
import { Icon, type IconName } from "./ui/icons";
import { lazily } from "./ui/lazily";
import { Nowhere } from "./ui/nowhere";
import { type Theme, useTheme } from "./ui/theme";
import { Toasts } from "./ui/toasts";

const Datasets = lazily(() => import("./pages/datasets"));
const Dataset = lazily(() => import("./pages/dataset"));
const Train = lazily(() => import("./pages/train"));
const Checkpoints = lazily(() => import("./pages/checkpoints"));
const Studio = lazily(() => import("./pages/studio"));
const Ab = lazily(() => import("./pages/ab"));
const Jobs = lazily(() => import("./pages/jobs"));

const PLACES = [
  { name: "voices", path: "/", icon: "voices", needs: [] },
  { name: "datasets", path: "/datasets", icon: "dataset", needs: LOOK.datasets },
  { name: "train", path: "/train", icon: "train", needs: LOOK.runs },
  { name: "checkpoints", path: "/checkpoints", icon: "checkpoints", needs: LOOK.models },
  { name: "studio", path: "/studio", icon: "studio", needs: LOOK.speech },
  { name: "ab", path: "/ab", icon: "ab", needs: LOOK.speech },
  { name: "jobs", path: "/jobs", icon: "jobs", needs: LOOK.jobs },
] as const satisfies readonly { name: string; path: string; icon: IconName; needs: readonly Scope[] }[];

const ROUTES: readonly (readonly [path: string, page: ComponentType])[] = [
  ["/", Voices],
  ["/datasets", Datasets],
  ["/datasets/:name/:part?", Dataset],
  ["/train", Train],
  ["/checkpoints", Checkpoints],
  ["/studio", Studio],
  ["/ab", Ab],
  ["/jobs/:id?", Jobs],
];

/** The page as a whole: who is not let in is asked to sign in, everybody else sees the frame with what they came for. */
export function App() {
  const { t } = useSpoken();
  const client = useQueryClient();
  const { data, error, isPending, refetch } = useQuery(me);
  const signOut = () => {
    token.clear();
    client.clear();
    location.assign("/webui/sign-in");
  };
  if (isPending) return <Starting />;
  const refused = error instanceof Problem && error.status === 401;
  if (error && !refused && !data) {
    return (
      <div className="sign-in">
        <div className="card">
          <h1>{t.app.name}</h1>
          <ErrorNote error={error} again={() => refetch()} />
        </div>
      </div>
    );
  }
  return (
    <Router base="/webui">
      {refused || !data ? (
        <SignIn refusal={refused && token.get() ? error : undefined} />
      ) : (
        <Caller value={data}>
          <Frame signOut={data.auth === "jwt" ? signOut : undefined} subject={data.subject} />
        </Caller>
      )}
      <Toasts />
    </Router>
  );
}

function Starting() {
  return (
    <div className="page">
      <Skeleton rows={4} height={90} />
    </div>
  );
}

function Frame({ signOut, subject }: { signOut: (() => void) | undefined; subject: string }) {
  const { t } = useSpoken();
  const may = useMay();
  const [open, setOpen] = useState(false);
  const [place] = useLocation();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const section = PLACES.find((one) => one.path !== "/" && place.startsWith(one.path)) ?? PLACES[0];
  const allowed = (one: (typeof PLACES)[number]) => one.needs.length === 0 || may(...one.needs);

  useEffect(() => {
    setOpen(false);
    document.title = `${t.places[section.name]} · Timbre`;
    if (first.current) first.current = false;
    else main.current?.focus({ preventScroll: true });
  }, [section.name, t]);

  return (
    <Live>
      <div className="frame">
        <a className="skip" href="#main">
          {t.app.skip}
        </a>
        <div className="top">
          <Brand />
          <Button kind="quiet" icon="menu" compact aria-expanded={open} onClick={() => setOpen(!open)}>
            {t.app.menu}
          </Button>
        </div>
        {open && <button type="button" className="veil" aria-label={t.common.close} onClick={() => setOpen(false)} />}
        <div className={open ? "side open" : "side"}>
          <Brand />
          <nav aria-label={t.app.navigation}>
            <ul>
              {PLACES.map((one) => (
                <li key={one.name}>
                  {allowed(one) ? (
                    <Link href={one.path} aria-current={one === section ? "page" : undefined} onClick={() => setOpen(false)}>
                      <Icon name={one.icon} />
                      {t.places[one.name]}
                      {one.name === "jobs" && <RunningCount />}
                    </Link>
                  ) : (
                    <span className="shut" title={t.may.missing(one.needs.join(t.may.or))}>
                      <Icon name={one.icon} />
                      {t.places[one.name]}
                      <span className="hidden-text">: {t.may.missing(one.needs.join(t.may.or))}</span>
                    </span>
                  )}
                </li>
              ))}
            </ul>
          </nav>
          <SideFoot signOut={signOut} subject={subject} />
        </div>
        <main id="main" ref={main} tabIndex={-1}>
          <Boundary place={place}>
            <Suspense fallback={<Starting />}>
              {!allowed(section) ? (
                <Page title={t.places[section.name]}>
                  <Note kind="warn">{t.may.missing(section.needs.join(t.may.or))}</Note>
                </Page>
              ) : (
                <Switch>
                  {ROUTES.map(([path, page]) => (
                    <Route key={path} path={path} component={page} />
                  ))}
                  <Route path="/sign-in">
                    <Redirect to="/" replace />
                  </Route>
                  <Route component={Nowhere} />
                </Switch>
              )}
            </Suspense>
          </Boundary>
        </main>
      </div>
    </Live>
  );
}

function Brand() {
  return (
    <Link href="/" className="brand">
      <img src="/webui/icon.svg" alt="" />
      Timbre
    </Link>
  );
}

function RunningCount() {
  const { t } = useSpoken();
  const { data } = useQuery({ ...jobs, refetchInterval: usePolling() });
  const count = data?.jobs.filter((one) => one.state === "running" || one.state === "queued").length ?? 0;
  return count ? (
    <span className="count">
      {count}
      <span className="hidden-text"> {t.jobs.underWay}</span>
    </span>
  ) : null;
}

const THEMES: readonly { name: Theme; icon: IconName }[] = [
  { name: "auto", icon: "auto" },
  { name: "light", icon: "sun" },
  { name: "dark", icon: "moon" },
];

function SideFoot({ signOut, subject }: { signOut: (() => void) | undefined; subject: string }) {
  const { t, language, setLanguage } = useSpoken();
  const { theme, setTheme } = useTheme();
  const connected = useConnected();
  const told = useMay()(...LOOK.jobs);
  const now = THEMES.findIndex((one) => one.name === theme);
  const then = THEMES[(now + 1) % THEMES.length] ?? { name: "auto", icon: "auto" };
  const other: Language = language === "en" ? "pt" : "en";
  return (
    <div className="side-foot">
      <p className={connected || !told ? "link-state on" : "link-state"} role="status">
        {connected ? t.app.live : told ? t.app.polling : t.app.asking}
      </p>
      {signOut && (
        <div className="row spread">
          <span className="row tight">
            <Icon name="user" />
            <span className="truncate">{subject}</span>
          </span>
          <Button kind="quiet" className="small" onClick={signOut}>
            {t.signIn.out}
          </Button>
        </div>
      )}
      <div className="switches">
        <Button kind="quiet" className="small" icon="language" lang={other} onClick={() => setLanguage(other)}>
          {LANGUAGES[other]}
        </Button>
        <Button
          kind="quiet"
          compact
          className="small"
          icon={THEMES[now]?.icon ?? "auto"}
          title={t.app.theme}
          aria-label={`${t.app.theme}: ${t.app.themes[theme]}`}
          onClick={() => setTheme(then.name)}
        >
          {t.app.themes[theme]}
        </Button>
      </div>
    </div>
  );
}
