/** A reward of your own: 1 for an answer in the garden, else 0. */
export default function reward(answers) {
  return answers.map(({ response }) => (response.includes('garden') ? 1 : 0));
}
