import "./styles/base.css";
import "./styles/layout.css";
import "./styles/controls.css";
import "./ui/theme";
import { QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Problem } from "./api/client";
import { me } from "./api/queries";
import { App } from "./app";
import { Speak } from "./i18n";
import { Boundary } from "./ui/boundary";
import { Themed } from "./ui/theme";

const client: QueryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error, query) => {
      // the token has expired: ask who this is, and so for a new one
      if (error instanceof Problem && error.status === 401 && query.queryKey[0] !== "me") client.invalidateQueries(me);
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // what the gateway refuses, it refuses again; what it could not do now, it may in a moment
      retry: (count, error) => !(error instanceof Problem && error.status < 500) && count < 2,
      retryDelay: (count) => 500 * 2 ** count,
    },
  },
});

const root = document.getElementById("app");
if (!root) throw new Error("the page lacks its root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <Speak>
        <Themed>
          <Boundary place="">
            <App />
          </Boundary>
        </Themed>
      </Speak>
    </QueryClientProvider>
  </StrictMode>,
);
