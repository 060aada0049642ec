namespace BlockMount.Nbd.Tests.Support;

/// <summary>For tests that count what belongs to the whole process: nothing else runs meanwhile.</summary>
[CollectionDefinition(DisableParallelization = true)]
public sealed class AloneCollection;
