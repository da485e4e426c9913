import { Component, type ReactNode } from "react";
import { useSpoken } from "../i18n";
import { Button, Empty, Page } from "./basics";
import { forgetFailures, Missing } from "./lazily";

interface BoundaryProps {
  /** Another place is another try. */
  place: string;
  children: ReactNode;
}

interface BoundaryState {
  place: string;
  broken: { error: unknown } | null;
}

/** Where what is inside cannot be shown, says so and offers another try, instead of leaving the window empty. */
export class Boundary extends Component<BoundaryProps, BoundaryState> {
  override state: BoundaryState = { place: this.props.place, broken: null };

  static getDerivedStateFromError(error: unknown): Partial<BoundaryState> {
    return { broken: { error } };
  }

  static getDerivedStateFromProps({ place }: BoundaryProps, state: BoundaryState): BoundaryState | null {
    return place === state.place ? null : { place, broken: null };
  }

  override componentDidCatch(): void {
    forgetFailures();
  }

  override render(): ReactNode {
    const { broken } = this.state;
    return broken ? <Broken error={broken.error} again={() => this.setState({ broken: null })} /> : this.props.children;
  }
}

function Broken({ error, again }: { error: unknown; again: () => void }) {
  const { t } = useSpoken();
  const missing = error instanceof Missing;
  return (
    <div role="alert">
      <Page title={t.app.broken}>
        <Empty
          icon="warn"
          title={missing ? t.app.missing : t.app.mistake}
          action={
            <div className="actions">
              <Button kind="primary" icon="retry" onClick={again}>
                {t.common.again}
              </Button>
              <Button onClick={() => location.reload()}>{t.app.reload}</Button>
            </div>
          }
        >
          {missing ? t.app.missingHint : t.app.mistakeHint}
        </Empty>
        {!missing && (
          <p className="hint" lang="en">
            {String(error)}
          </p>
        )}
      </Page>
    </div>
  );
}
