"""What must an orchestration not do, found in its text before anything runs? `turnlog check` prints what this finds.

    sources      text in, scopes and names out          rules      the literal table: codes, and what to use instead
    resolving    what a name or an expression stands for outside    the literal table: names of the outside
    program      what orchestrations call, and so is read           calls, order, flow, state: one file a kind of rule
    ignores      comments that silence                               checking   all of it together

Pure: text comes in, findings go out; no module of the user is imported, and where to find a module's text is the
caller's to say. What is not certain is no finding (docs/decisions/0016-check-reads-text.md).
"""
