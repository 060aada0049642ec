namespace BlockMount.Nbd.Handshake;

/// <summary>What a handshake agreed on.</summary>
/// <param name="Export">The export chosen.</param>
/// <param name="Style">How requests and replies are framed.</param>
/// <param name="Contexts">Contexts that BLOCK_STATUS answers; none with simple replies.</param>
internal sealed record NbdSession(NbdExport Export, NbdReplyStyle Style, NbdMetaContexts Contexts);
