declare module "*.css" {
  /** The text of the file, made smaller. */
  const text: string;
  export default text;
}
