import { Link } from "wouter";
import { useSpoken } from "../i18n";
import { Empty, Page } from "./basics";

/** What an address shows that leads to nothing. */
export function Nowhere() {
  const { t } = useSpoken();
  return (
    <Page title={t.app.nowhere}>
      <Empty icon="warn" title={t.app.nowhere} action={<Link href="/">{t.places.voices}</Link>}>
        {t.app.nowhereHint}
      </Empty>
    </Page>
  );
}
