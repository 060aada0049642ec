namespace BlockMount.Nbd.Handshake;

/// <summary>What a handshake agreed on.</summary>
/// <param name="Export">The export chosen.</param>
/// <param name="Structured">Whether replies are structured.</param>
/// <param name="Contexts">Contexts that BLOCK_STATUS answers; none without structured replies.</param>
internal sealed record NbdSession(NbdExport Export, bool Structured, NbdMetaContexts Contexts);
