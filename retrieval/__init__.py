"""The retrieval part: memory bank, embedder, corpus, web search, the seeded world."""
